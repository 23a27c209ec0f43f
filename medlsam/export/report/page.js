"use strict";
// Sorts and filters the table of a report. Values are compared and shown as text; nothing of the data becomes code.
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const control = (id) => document.getElementById(id);
  const words = rows.map((row) => `${row.querySelector(".scan").textContent} ${row.querySelector(".structure").dataset.v}`.toLowerCase());
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;

  // A row's value in a column: a number where the cell has one, else text; undefined where there is none.
  const valueIn = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? (cell.classList.contains("number") ? "" : cell.textContent.trim());
    if (text === "") return undefined;
    return cell.classList.contains("number") || cell.classList.contains("status") ? Number(text) : text;
  };

  // "" is the order of the page, worst first; "confidence up" and so on that of a column. What has no value goes last.
  const sort = (order) => {
    const [key, way] = order.split(" ");
    const column = heads.findIndex((head) => head.dataset.sort === key);
    heads.forEach((head, at) => {
      if (at === column) head.setAttribute("aria-sort", way === "up" ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    let sorted = rows;
    if (column >= 0) {
      const sign = way === "up" ? 1 : -1;
      const keyed = rows.map((row, place) => ({ row, place, value: valueIn(row, column) }));
      keyed.sort((a, b) => {
        if (a.value === undefined || b.value === undefined) return (a.value === undefined) - (b.value === undefined) || a.place - b.place;
        const difference = typeof a.value === "number" ? a.value - b.value : compare(a.value, b.value);
        return sign * difference || a.place - b.place;
      });
      sorted = keyed.map((entry) => entry.row);
    }
    body.append(...sorted);
    control("order").value = order;
  };

  const filter = () => {
    const wanted = control("words").value.trim().toLowerCase();
    const status = control("status").value;
    const structure = control("structure").value;
    let shown = 0;
    rows.forEach((row, place) => {
      row.hidden = !(words[place].includes(wanted)
        && (!status || row.dataset.status === status)
        && (!structure || row.querySelector(".structure").dataset.v === structure));
      shown += !row.hidden;
    });
    control("count").textContent = `${shown} of ${rows.length}`;
  };

  for (const head of heads) {
    const key = head.dataset.sort;
    if (!key) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(`${key} ${head.getAttribute("aria-sort") === "ascending" ? "down" : "up"}`));
    for (const way of ["up", "down"]) {
      const name = `${head.textContent} ${way === "up" ? "▲" : "▼"}`;
      control("order").append(new Option(name, `${key} ${way}`));
    }
    head.replaceChildren(button);
  }
  control("order").addEventListener("change", (event) => sort(event.target.value));
  control("words").addEventListener("input", filter);
  control("status").addEventListener("change", filter);
  control("structure").addEventListener("change", filter);
  control("pictures").addEventListener("change", (event) => table.classList.toggle("plain", !event.target.checked));

  // A command that is opened gets a button that copies it.
  const offerCopy = (code) => {
    if (!navigator.clipboard || code.nextElementSibling?.classList.contains("copy")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "selected";
      }
    });
    code.after(button);
  };
  body.addEventListener("toggle", (event) => event.target.open && offerCopy(event.target.querySelector("code")), true);
  document.querySelectorAll("article code").forEach(offerCopy);

  // Paper has no pictures that come later: those of the rows that are shown are loaded before it is printed.
  const hurry = () => [...document.images].filter((image) => !image.closest("[hidden]")).map((image) => {
    image.loading = "eager";
    return image.complete || new Promise((done) => image.addEventListener("load", done, { once: true }));
  });
  addEventListener("beforeprint", hurry);
  control("print").addEventListener("click", async () => {
    await Promise.all(hurry());
    print();
  });

  control("controls").hidden = false;
  // A browser that comes back to the page fills in what was chosen before.
  filter();
  if (control("order").value) sort(control("order").value);
})();
