// htmx asks for news every few seconds. It must not while nobody looks, nor pull a page from under
// somebody who reads with the keyboard, selects text, or opened a detail.
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.target;
  const busy =
    document.hidden ||
    part.contains(document.activeElement) ||
    part.querySelector("details[open]") ||
    !getSelection().isCollapsed;
  if (busy) event.preventDefault();
});
// What came back may be a page about an error: keep the last good state, and say so.
for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(name, () => document.body.classList.add("stale"));
}
document.addEventListener("htmx:afterSwap", () => document.body.classList.remove("stale"));
