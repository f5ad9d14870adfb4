// Labels that come in and go out: the switch of imported ones, and the dialog that writes label images.

import { find } from "./dom.js";

export function bindExport(store, button) {
  const result = find("export-result");
  const submit = find("export-form").querySelector(".primary");
  button("export", () => {
    if (!submit.disabled) result.textContent = "";
    find("export-field-label").hidden = !store.state.field?.version;
    find("export-dialog").showModal();
  }, "Write label images");
  const least = find("export-least");
  least.addEventListener("input", () => { find("export-least-value").textContent = `${least.value} %`; });
  find("export-painted").addEventListener("change", (event) => { least.disabled = find("export-field").disabled = event.target.checked; });
  find("export-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (store.queue.length) {
      result.textContent = "Some marks are still on their way; export again when the state says Saved.";
      return;
    }
    result.textContent = "Writing";
    submit.disabled = true; // Enter in a field does nothing then, either
    const body = { least_confidence: Number(least.value) / 100, painted_only: find("export-painted").checked, coco: find("export-coco").checked, points: find("export-points").checked };
    if (find("export-field").checked && !body.painted_only) body.source = "field";
    if (find("export-folder").value) body.folder = find("export-folder").value;
    try {
      const { folder, num_files: count } = await (await store.ask("/api/export", body, null)).json(); // as long as it takes
      result.textContent = `Wrote ${count} files to ${folder}`;
    } catch (error) {
      result.textContent = error.message;
    } finally {
      submit.disabled = false;
    }
  });
}

export function showImport({ name, is_on }) {
  find("import-line").hidden = false;
  find("import").setAttribute("aria-checked", String(is_on));
  find("import-label").title = `Weak evidence beneath the marks, from ${name}`;
}
