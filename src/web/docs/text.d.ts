// Imported with { type: "text" }, and so part of the compiled executable.
declare module "*.page.css" {
  const text: string;
  export default text;
}
declare module "*.page.js" {
  const text: string;
  export default text;
}
