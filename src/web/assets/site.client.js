// Runs in the browser. Every page works without it; it saves a reload or a scroll.

for (const field of document.querySelectorAll("[data-tags]")) editTags(field);
keepPlace();

/** Adds and removes tags without sending the form. */
function editTags(field) {
  const input = field.querySelector("input[name=tag]");
  const list = field.querySelector(".tag-list");

  const add = () => {
    const known = new Set([...list.querySelectorAll("input")].map(({ value }) => value));
    for (const tag of input.value.split(",").map((text) => text.trim())) {
      if (tag === "" || known.has(tag)) continue;
      known.add(tag);
      list.append(pill(tag));
    }
    input.value = "";
  };

  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    add();
  });
  field.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    event.preventDefault();
    if (button.name === "without") button.closest(".tag-pill").remove();
    else add();
    input.focus();
  });
}

/** As the server renders it (src/web/pages/editor.tsx). */
function pill(tag) {
  const element = document.createElement("li");
  element.className = "tag-default tag-pill";
  const input = Object.assign(document.createElement("input"), { type: "hidden", name: "tagList", value: tag });
  const button = Object.assign(document.createElement("button"), { name: "without", value: tag });
  button.setAttribute("aria-label", `Remove the tag ${tag}`);
  button.append(Object.assign(document.createElement("i"), { className: "ion-close-round" }));
  element.append(input, tag, button);
  return element;
}

/** A form in a list leads back to the same page: this shows the same part of it again. */
function keepPlace() {
  const key = "place";
  const here = location.pathname + location.search;
  addEventListener("submit", () => sessionStorage.setItem(key, JSON.stringify({ here, y: scrollY })));
  const kept = JSON.parse(sessionStorage.getItem(key) ?? "null");
  sessionStorage.removeItem(key);
  if (kept?.here === here && location.hash === "") scrollTo({ top: kept.y, behavior: "instant" });
}
