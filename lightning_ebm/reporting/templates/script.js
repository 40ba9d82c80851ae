// Tables sort by the clicked column, first ascending, then descending; rows without a value stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const compare = head.classList.contains("word")
      ? (a, b) => a.localeCompare(b, "en", { numeric: true })
      : (a, b) => Number(a) - Number(b);
    const rows = [...table.tBodies[0].rows].sort((above, below) => {
      const [a, b] = [above, below].map((row) => row.cells[column].dataset.value);
      if (a === "" || b === "") return (a === "") - (b === "");
      return ascending ? compare(a, b) : compare(b, a);
    });
    table.tBodies[0].append(...rows);
  }));
}
// Figures open large in a dialog, which Escape, its button, or a click beside it closes.
const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll("button.zoom")) {
  button.addEventListener("click", () => {
    dialog.querySelector("div").replaceChildren(...[...button.children].map((image) => image.cloneNode()));
    dialog.showModal();
  });
}
// A link to a run unfolds its configuration.
function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", unfold);
unfold();
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
