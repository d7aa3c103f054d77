// A file that the server has made: props.value names it and holds it. It is saved as soon as it comes.
watch("value", () => {
  if (!props.value) return;
  const { name, data } = JSON.parse(props.value);
  download(new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))]), name);
});
