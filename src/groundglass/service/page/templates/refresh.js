// The page as the service writes it now, in place of what stands there; not while a question is open.
"use strict";

const SECONDS = 5;

async function refresh() {
  if (document.hidden || document.querySelector("details[open]")) return;
  const note = document.getElementById("gone");
  try {
    const answer = await fetch("./", { cache: "no-store" });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (document.querySelector("details[open]")) return;
    document.querySelector("main").replaceWith(page.querySelector("main"));
  } catch {
    note.hidden = false;
  }
}

setInterval(refresh, 1000 * SECONDS);
