// Small behaviours of the site: diagrams in the reader's theme, and keyboard access to whatever scrolls sideways.
(() => {
  "use strict";

  // ── Diagrams ─────────────────────────────────────────────────────────────────────────────────
  // mermaid is loaded as a plain script, because browsers refuse module imports on file:// pages.
  const colours = {
    light: {
      background: "#ffffff", primaryColor: "#e3f2ef", primaryTextColor: "#1c2430", primaryBorderColor: "#1b7a70",
      lineColor: "#51606f", secondaryColor: "#fbeed6", tertiaryColor: "#f3f5f7", noteBkgColor: "#fbeed6",
      noteTextColor: "#1c2430", noteBorderColor: "#b3741a", edgeLabelBackground: "#ffffff",
    },
    dark: {
      background: "#14181e", primaryColor: "#1c3b39", primaryTextColor: "#e4e9ee", primaryBorderColor: "#55c4b5",
      lineColor: "#a3b0bd", secondaryColor: "#43351c", tertiaryColor: "#222932", noteBkgColor: "#43351c",
      noteTextColor: "#f2e7d3", noteBorderColor: "#e9b35c", edgeLabelBackground: "#14181e",
    },
  };
  const theme = () => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

  async function drawDiagrams() {
    const diagrams = [...document.querySelectorAll("pre.mermaid, div.mermaid")];
    if (!window.mermaid || diagrams.length === 0) return;
    const family = getComputedStyle(document.body).fontFamily;
    window.mermaid.initialize({
      startOnLoad: false, securityLevel: "strict", theme: "base", fontFamily: family,
      themeVariables: { ...colours[theme()], fontFamily: family, fontSize: "15px" },
      flowchart: { useMaxWidth: false, htmlLabels: true }, sequence: { useMaxWidth: false },
      state: { useMaxWidth: false },
    });
    for (const [index, diagram] of diagrams.entries()) {
      diagram.dataset.source ??= diagram.textContent;
      const { svg } = await window.mermaid.render(`kit-diagram-${index}`, diagram.dataset.source);
      // A <pre> says "code" to a screen reader; the drawing goes into a plain box.
      const box = diagram.tagName === "PRE" ? document.createElement("div") : diagram;
      box.className = "mermaid";
      box.tabIndex = 0;
      box.dataset.source = diagram.dataset.source;
      box.innerHTML = svg;
      if (box !== diagram) diagram.replaceWith(box);
    }
    document.documentElement.dataset.diagrams = theme();
  }

  // ── Search ───────────────────────────────────────────────────────────────────────────────────
  // Excerpts are read from the pages found, which a browser refuses on file://; results appear without them there.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }

  // ── Sideways scrolling ───────────────────────────────────────────────────────────────────────
  function wrapTables() {
    for (const table of document.querySelectorAll(".bd-article table")) {
      if (table.closest(".highlighttable, .pst-scrollable-table-container, .kit-scroll, .cell_output")) continue;
      const box = document.createElement("div");
      box.className = "kit-scroll";
      table.before(box);
      box.append(table);
    }
  }

  function reachByKeyboard() {
    const boxes = ".bd-article pre, .kit-scroll, .pst-scrollable-table-container, .cell_output .output, div.math";
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else if (!box.classList.contains("mermaid")) box.removeAttribute("tabindex");
    }
  }

  // ── Names for controls that the theme leaves nameless ────────────────────────────────────────
  function nameControls() {
    for (const control of document.querySelectorAll("button[title]:not([aria-label]), a[title]:not([aria-label])")) {
      if (control.textContent.trim() === "") control.setAttribute("aria-label", control.title);
    }
    for (const summary of document.querySelectorAll(".bd-links summary")) {
      const page = summary.closest("li")?.querySelector("a")?.textContent.trim();
      summary.setAttribute("aria-label", page ? `Pages below ${page}` : "Pages below");
    }
    // A list whose items hold links beside their entries is no list to a screen reader; plain paragraphs read better.
    for (const list of document.querySelectorAll(".citation-list[role]")) {
      list.removeAttribute("role");
      for (const entry of list.querySelectorAll(":scope > [role]")) entry.removeAttribute("role");
    }
  }

  function start() {
    wrapTables();
    nameControls();
    drawDiagrams().then(reachByKeyboard);
    let pending = 0;
    addEventListener("resize", () => {
      cancelAnimationFrame(pending);
      pending = requestAnimationFrame(reachByKeyboard);
    });
    let drawn = theme();
    new MutationObserver(() => {
      if (theme() === drawn) return;
      drawn = theme();
      drawDiagrams();
    }).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
