// The dialog that asks who uses the page.
import { el, field } from "./dom.js";
import { session } from "./session.js";

let dialog = null;

export function askLogin() {
  if (dialog) return;
  const user = el("input", { autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false" });
  const secret = el("input", { type: "password", autocomplete: "current-password", required: true });
  const told = el("p", { class: "wrong", role: "alert" });
  const button = el("button", { class: "main" }, "Log in");
  const form = el(
    "form",
    { onsubmit: submit },
    el("h2", { id: "login-head" }, "Log in"),
    el("p", { class: "soft" }, "This cluster asks who you are. Your password goes to this node alone."),
    field("User", user),
    field("Password", secret),
    told,
    el("div", { class: "actions" }, button),
  );

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    told.textContent = "";
    try {
      await session.login(user.value, secret.value);
      dialog?.close();
    } catch (failed) {
      told.textContent = failed.status ? failed.message : "This node does not answer.";
      secret.select();
    }
    button.disabled = false;
  }

  dialog = el("dialog", { "aria-labelledby": "login-head", class: "login" }, form);
  dialog.addEventListener("close", () => {
    dialog.remove();
    dialog = null;
  });
  document.body.append(dialog);
  dialog.showModal();
}
