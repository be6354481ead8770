/** Says what went wrong in words for the visitor; every other error is a defect of the page. */
export class PageError extends Error {
  name = "PageError";
}
