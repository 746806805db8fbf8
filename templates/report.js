// The table of findings: sorting and paging by DataTables, filters, decisions and their export.
// Decisions live in the page's own controls and nowhere else.

const element = (id) => document.getElementById(id);
const form = element("controls");
const decisionOf = (row) => row.querySelector("td.decision select").value;

for (const shown of document.querySelectorAll("[data-needs-script]")) shown.hidden = false;
for (const gone of document.querySelectorAll("[data-without-script]")) gone.hidden = true;

const heads = [...document.querySelectorAll("#findings-table thead th")];
const placesOf = (name) => heads.flatMap((head, at) => (head.classList.contains(name) ? [at] : []));

const table = window.$("#findings-table").DataTable({
  autoWidth: false,
  columnDefs: [
    { targets: placesOf("decision"), orderable: false, searchable: false },
    { targets: placesOf("example"), orderable: false },
    { targets: placesOf("number"), type: "num" },
  ],
  language: {
    emptyTable: "There are no findings.",
    info: "Rows _START_ to _END_ of _TOTAL_",
    infoEmpty: "No rows",
    infoFiltered: "(filtered from _MAX_)",
    zeroRecords: "No row matches.",
  },
  layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: "paging" },
  order: [],
  pageLength: 25,
});
const rows = () => table.rows().nodes().toArray();

// Filters: a row is shown when every control agrees.

function fits(row) {
  const which = element("which").value;
  if (which === "flagged" && row.dataset.flagged !== "yes") return false;
  if (which === "unflagged" && row.dataset.flagged !== "no") return false;
  if (which === "open" && decisionOf(row) !== "") return false;
  if (which === "decided" && decisionOf(row) === "") return false;
  const least = element("least")?.value ?? "";
  if (least !== "" && !(row.dataset.probability !== "" && +row.dataset.probability >= +least)) return false;
  const choices = row.dataset.choices.split(" ");
  return [...form.querySelectorAll("select[data-filter]")].every(
    (select) => select.value === "" || choices[+select.dataset.filter] === select.value,
  );
}

table.search.fixed("controls", (_text, _data, place) => fits(table.row(place).node()));

function refresh() {
  table.search(element("search").value);
  table.page.len(+element("length").value).draw();
}

form.addEventListener("input", refresh);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(refresh));

// Decisions.

let exported = "";

function decisions() {
  return rows()
    .filter((row) => decisionOf(row) !== "")
    .map((row) => ({ ...JSON.parse(row.dataset.record), decision: decisionOf(row) }));
}

function count() {
  const made = decisions().length;
  element("decided").textContent = String(made);
  element("export").disabled = made === 0;
}

// A spreadsheet runs cells that begin like formulas: those, and cells that begin with an
// apostrophe, get an apostrophe in front. To read one back, take off one leading apostrophe.
function cell(text) {
  const guarded = /^['=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(guarded) || guarded === "" ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}

function csv() {
  const suggests = element("export").dataset.suggestion === "yes";
  const columns = ["example_id", "decision", ...(suggests ? ["suggested_label"] : [])];
  const lines = decisions().map((made) => columns.map((name) => cell(made[name] ?? "")).join(","));
  return [columns.join(","), ...lines, ""].join("\r\n");
}

function save() {
  exported = csv();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([exported], { type: "text/csv;charset=utf-8" }));
  link.download = element("export").dataset.file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

element("export").addEventListener("click", save);
table.table().body().addEventListener("change", (event) => {
  event.target.dataset.value = event.target.value;
  count();
});
window.addEventListener("beforeunload", (event) => {
  if (decisions().length > 0 && csv() !== exported) event.preventDefault();
});

// On paper every row that passes the filters is printed.

window.addEventListener("beforeprint", () => table.page.len(-1).draw(false));
window.addEventListener("afterprint", () => table.page.len(+element("length").value).draw(false));

count();
