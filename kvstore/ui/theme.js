// Light, dark, or as the system has it.
const KEPT = "kvstore.theme";
const NAMES = { "light dark": "Colours: auto", light: "Colours: light", dark: "Colours: dark" };
const ORDER = Object.keys(NAMES);

export function setUpTheme(button) {
  let now = "light dark";
  try {
    now = localStorage.getItem(KEPT) ?? now;
  } catch {
    // Not kept, then.
  }
  if (!(now in NAMES)) now = "light dark";
  const show = () => {
    document.documentElement.style.colorScheme = now;
    button.textContent = NAMES[now];
    button.setAttribute("aria-label", `${NAMES[now]}. Change`);
    dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    now = ORDER[(ORDER.indexOf(now) + 1) % ORDER.length];
    try {
      localStorage.setItem(KEPT, now);
    } catch {
      // As above.
    }
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
  show();
}

// The colour that a variable of the style sheet stands for now, for a canvas.
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
