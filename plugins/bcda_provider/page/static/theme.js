// Follows Airflow's own choice of light or dark, which it keeps in the browser; without one the system's holds.
(() => {
  const show = () => {
    const chosen = localStorage.getItem("theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
  };
  show();
  addEventListener("storage", (event) => event.key === "theme" && show());
})();
