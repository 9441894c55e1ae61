"use strict";
// Charts, tables that sort and search, and everything open when it is printed.
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const options = { renderer: "svg", actions: false, tooltip: { theme: "custom", disableDefaultStyle: true } };
  const drawn = Object.entries(specs).map(([name, spec]) => vegaEmbed(document.getElementById("chart-" + name), spec, options));
  Promise.allSettled(drawn).then((outcomes) => {
    const failed = outcomes.filter((outcome) => outcome.status === "rejected");
    failed.forEach((outcome) => console.error(outcome.reason));
    document.documentElement.dataset.charts = failed.length ? "failed" : "drawn";
  });

  const valueOf = (cell) => {
    const exact = cell.querySelector("data");
    const text = exact ? exact.value : cell.textContent.trim();
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? text.toLowerCase() : number;
  };
  const compare = (left, right) => {
    if (typeof left === "number" && typeof right === "number") return left - right;
    if (typeof left === "number") return 1;
    if (typeof right === "number") return -1;
    return left.localeCompare(right);
  };
  const sortBy = (heading) => {
    const table = heading.closest("table"), body = table.tBodies[0], column = heading.cellIndex;
    const before = heading.getAttribute("aria-sort");
    const firstDown = heading.classList.contains("n");
    const isDown = before ? before === "ascending" : firstDown;
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", isDown ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort((left, right) => compare(left[0], right[0]) * (isDown ? -1 : 1));
    body.append(...rows.map((pair) => pair[1]));
  };
  document.querySelectorAll("table.sortable thead th").forEach((heading) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(heading));
  });

  document.querySelectorAll("input[type=search]").forEach((field) => {
    const rows = [...document.getElementById(field.dataset.table).tBodies[0].rows];
    const count = document.getElementById(field.dataset.count);
    const search = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row) => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = shown + " of " + rows.length;
    };
    field.addEventListener("input", search);
    search();
  });

  addEventListener("beforeprint", () => document.querySelectorAll("details:not(.minor)").forEach((each) => (each.open = true)));
})();
