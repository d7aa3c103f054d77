// What both pages do with files.
"use strict";
function listen(take) {   // to files that are dropped or pasted anywhere, rather than that the browser leaves the page
  for (const kind of ["dragover", "drop", "paste"]) addEventListener(kind, event => {
    if (kind !== "paste") event.preventDefault();
    if (kind !== "dragover") take([...(event.dataTransfer ?? event.clipboardData)?.files ?? []], kind);
  });
}
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob); link.download = name; link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);   // once it is saved
}
