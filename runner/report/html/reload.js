// While a study goes on, the page loads itself anew, at the same place and with what was unfolded still unfolded.
(() => {
  const KEY = `goodshot ${location.pathname}`;
  const folds = () => [...document.querySelectorAll("details")];
  const before = JSON.parse(sessionStorage.getItem(KEY) || "null");
  if (before) {
    folds().forEach((fold, i) => { fold.open = before.open.includes(i); });
    scrollTo(0, before.scroll);
  }
  function next() {
    // Nobody who reads a dialog or types is interrupted.
    const isBusy = document.querySelector("dialog[open]") || document.activeElement?.matches("input");
    const filters = [...document.querySelectorAll("input[type=search]")].some((input) => input.value);
    if (isBusy || filters) return setTimeout(next, 1000);
    const open = folds().flatMap((fold, i) => (fold.open ? [i] : []));
    sessionStorage.setItem(KEY, JSON.stringify({ scroll: scrollY, open }));
    location.reload();
  }
  setTimeout(next, 1000 * RELOAD_SECONDS);
})();
