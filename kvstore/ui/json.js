// JSON set out in lines, token by token: numbers keep all their digits, which parsing them would not.

const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g;

// Null if it is no JSON.
export function indented(text) {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const tokens = text.match(TOKEN) ?? [];
  let made = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  tokens.forEach((token, at) => {
    if (token === "{" || token === "[") {
      const closes = tokens[at + 1] === (token === "{" ? "}" : "]");
      made += token;
      if (!closes) {
        depth++;
        made += line();
      }
    } else if (token === "}" || token === "]") {
      const opened = tokens[at - 1] === (token === "}" ? "{" : "[");
      if (!opened) {
        depth--;
        made += line();
      }
      made += token;
    } else if (token === ",") made += token + line();
    else if (token === ":") made += ": ";
    else made += token;
  });
  return made;
}
