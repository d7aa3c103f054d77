// A file that the server has made: props.value names it and holds it. It is saved as soon as it comes.
watch("value", () => {
  if (!props.value) return;
  const { name, data } = JSON.parse(props.value);
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});
