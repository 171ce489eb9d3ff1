// Shows what stands under the pointer. Everything it shows is in the page without it, in tables and titles.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  for (const svg of document.querySelectorAll("svg[data-points]")) {
    const points = JSON.parse(svg.dataset.points);
    const line = document.createElementNS(svg.namespaceURI, "path");
    line.setAttribute("class", "cross");
    svg.append(line);
    const width = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height;
    const leave = () => { tip.hidden = true; line.removeAttribute("d"); };
    svg.querySelector("title").remove();
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * width;
      let best = null;
      for (const point of points) {
        if (best === null || Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
      }
      if (best === null || Math.abs(best[0] - x) > 40) return leave();
      line.setAttribute("d", `M${best[0]} 8V${height - 24}`);
      tip.textContent = best[1];
      tip.hidden = false;
      const left = box.left + best[0] / width * box.width + 12;
      tip.style.left = `${Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(4, box.top - 6)}px`;
    });
  }
})();
