// Shows a report that the page around this frame has fetched. The frame has an origin of its own and may ask nothing
// (see kvstore/http/ui.py), so that what the report holds can do nothing but be looked at.
"use strict";
addEventListener("message", function show(event) {
  if (event.source !== parent || typeof event.data !== "string") return;
  removeEventListener("message", show);
  document.open();
  document.write(event.data);
  document.close();
});
parent.postMessage("ready", "*");
