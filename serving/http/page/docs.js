// Keys that are entered here are not stored: `persistAuthorization` is off.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
follow();
dark.addEventListener("change", follow);
SwaggerUIBundle({ url: "openapi.json", dom_id: "#reference", persistAuthorization: false, defaultModelsExpandDepth: 0 });
