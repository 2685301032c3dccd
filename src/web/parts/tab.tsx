/** One of several lists that a page can show. */
export function Tab({ href, text, isActive }: { href: string; text: string; isActive: boolean }) {
  return (
    <a class={isActive ? "nav-link active" : "nav-link"} href={href} aria-current={isActive ? "page" : undefined}>
      {text}
    </a>
  );
}
