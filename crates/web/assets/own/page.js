// What pages do beyond htmx: copy an id or a block, show dates as the reader writes them, say that a
// form is on its way, and fetch news on click.
"use strict";

function showDates(root) {
  const format = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  for (const time of root.querySelectorAll("time[data-date]")) {
    time.textContent = format.format(new Date(time.dataset.date + "T00:00:00Z"));
  }
}

document.addEventListener("click", async (event) => {
  const reload = event.target.closest("[data-reload]");
  if (reload) {
    event.preventDefault();
    location.assign(reload.getAttribute("href"));
    location.reload();
    return;
  }
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy failed";
  }
  setTimeout(() => { button.textContent = label; }, 1500);
});

document.addEventListener("submit", (event) => {
  const words = event.target.dataset.busy;
  const button = event.target.querySelector("button:not([type=button])");
  if (words && button) {
    button.textContent = words;
    button.setAttribute("aria-busy", "true");
  }
});

document.addEventListener("DOMContentLoaded", () => showDates(document));
document.addEventListener("htmx:afterSwap", (event) => showDates(event.target.parentElement ?? document));
