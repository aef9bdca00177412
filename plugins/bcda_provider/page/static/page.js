// Inside Airflow the page is a frame that may not navigate the window around it, so links to Airflow are followed there.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-airflow]");
  if (!link || window.parent === window || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  outside.href = link.href;
  outside.click();
});

// While a run is at work its part of the page is fetched again, unless nobody looks or something in it has the focus.
const list = document.getElementById("run-list");
const looksAgain = 5000;
async function refresh() {
  if (document.hidden || list.contains(document.activeElement)) return;
  const answer = await fetch(list.dataset.refresh, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!answer.ok) return;
  list.innerHTML = await answer.text();
  // What the ended run has loaded shows everywhere on the page.
  if (!list.querySelector("[data-at-work]")) location.reload();
}
if (list) {
  setInterval(() => list.querySelector("[data-at-work]") && refresh().catch(() => {}), looksAgain);
}
