"use strict";
// A line through all pictures of the run at the moment under the cursor, with the seconds beside it.
const pictures = [...document.querySelectorAll("svg[data-seconds]")].map((svg) => {
  const make = (name, kind) => {
    const element = document.createElementNS(svg.namespaceURI, name);
    element.setAttribute("class", kind);
    element.setAttribute("visibility", "hidden");
    return svg.appendChild(element);
  };
  const { seconds, left, right } = svg.dataset;
  return { svg, line: make("path", "cursor"), text: make("text", "cursor-time"), seconds: +seconds, left: +left,
    right: +right };
});
function show(share) {
  for (const { svg, line, text, seconds, left, right } of pictures) {
    const hidden = share === null ? "hidden" : "visible";
    const x = left + (share ?? 0) * (right - left);
    line.setAttribute("d", `M${x} 0V${svg.viewBox.baseVal.height - 30}`);
    text.setAttribute("x", x + (share > 0.93 ? -6 : 6));
    text.setAttribute("y", 10);
    text.setAttribute("text-anchor", share > 0.93 ? "end" : "start");
    text.textContent = `${((share ?? 0) * seconds).toFixed(2)} s`;
    line.setAttribute("visibility", hidden);
    text.setAttribute("visibility", hidden);
  }
}
for (const { svg, left, right } of pictures) {
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    show(x < left || x > right ? null : (x - left) / (right - left));
  });
  svg.addEventListener("pointerleave", () => show(null));
}
