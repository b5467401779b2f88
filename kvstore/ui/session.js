// Who uses the page, while auth is enabled. The token is kept for this tab, so that a reload asks nothing; the password
// stays in memory alone, to renew the token before it ends.

const KEPT = "kvstore.token";

let token = null;
let password = null;
let timer = 0;
let listeners = [];

export const session = {
  get user() {
    return token?.user ?? null;
  },
  get authorization() {
    return token && token.until > Date.now() ? `Bearer ${token.token}` : null;
  },
  onChange(listener) {
    listeners.push(listener);
  },
  // Raises what went wrong: {status, problem} or a network error.
  async login(user, secret) {
    const answer = await fetch("/v1/auth/token", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user, password: secret }),
    });
    const body = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(body.detail), { status: answer.status, problem: body });
    token = { token: body.token, user: body.user, until: Date.now() + body.expires_seconds * 1000 };
    password = secret;
    keep();
    renewLater();
    tell();
  },
  logout() {
    if (!token) return;
    token = password = null;
    clearTimeout(timer);
    sessionStorage.removeItem(KEPT);
    tell();
  },
};

function tell() {
  for (const listener of listeners) listener();
}

function keep() {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(token));
  } catch {
    // Without storage a reload asks again.
  }
}

function renewLater() {
  clearTimeout(timer);
  const left = token.until - Date.now();
  timer = setTimeout(renew, Math.min(Math.max(left * 0.7, 1000), 2 ** 31 - 1));
}

async function renew() {
  if (!token || password === null) return;
  try {
    await session.login(token.user, password);
  } catch (failed) {
    if (failed.status === 401) session.logout();
    else if (token.until > Date.now()) timer = setTimeout(renew, 2000);
  }
}

try {
  token = JSON.parse(sessionStorage.getItem(KEPT));
  if (!token || !(token.until > Date.now())) token = null;
} catch {
  token = null;
}
