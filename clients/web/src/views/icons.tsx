import type { ComponentChildren } from "preact";

function icon(children: ComponentChildren) {
  return () => (
    <svg
      class="icon"
      viewBox="0 0 20 20"
      width="20"
      height="20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const Plus = icon(<path d="M10 4v12M4 10h12" />);
export const Paper = icon(<path d="M5 3.5h6.5L15 7v9.5H5zM11 3.5V7.5h4" />);
export const Clip = icon(
  <path d="m15.5 9.2-5.6 5.6a3.3 3.3 0 0 1-4.7-4.7l6-6a2.2 2.2 0 0 1 3.1 3.1l-6 6a1 1 0 0 1-1.5-1.5l5.4-5.4" />,
);
export const Menu = icon(<path d="M3.5 6h13M3.5 10h13M3.5 14h13" />);
export const Close = icon(<path d="m5 5 10 10M15 5 5 15" />);
export const Send = icon(<path d="M10 16V4.5M5 9l5-5 5 5" />);
export const Stop = icon(<rect x="5.5" y="5.5" width="9" height="9" rx="2" fill="currentColor" />);
export const Down = icon(<path d="M10 4v12M5 11l5 5 5-5" />);
export const Chevron = icon(<path d="m7.5 5 5 5-5 5" />);
export const Copy = icon(<path d="M7 7V4.5h8.5V13H13M4.5 7H13v8.5H4.5z" />);
export const Check = icon(<path d="m4.5 10.5 3.5 3.5 7.5-8" />);
export const Tool = icon(
  <path d="M12.5 3.8a4 4 0 0 0-4.9 5.1l-4 4a1.7 1.7 0 1 0 2.4 2.4l4-4a4 4 0 0 0 5.1-4.9l-2.3 2.3-2.2-.4-.4-2.2z" />,
);
export const Person = icon(<path d="M10 9.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM4 16.5c.6-3 2.8-4.5 6-4.5s5.4 1.5 6 4.5" />);
export const Dots = icon(<path d="M4.5 10h.01M10 10h.01M15.5 10h.01" stroke-width="2.6" />);
export const Search = icon(<path d="M8.8 14.5a5.7 5.7 0 1 0 0-11.4 5.7 5.7 0 0 0 0 11.4ZM13 13l4 4" />);
export const Sun = icon(
  <path d="M10 13.2a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4ZM10 2v1.8M10 16.2V18M2 10h1.8M16.2 10H18M4.3 4.3l1.3 1.3M14.4 14.4l1.3 1.3M15.7 4.3l-1.3 1.3M5.6 14.4l-1.3 1.3" />,
);
export const Moon = icon(<path d="M16.5 11.8A6.8 6.8 0 0 1 8.2 3.5a6.8 6.8 0 1 0 8.3 8.3Z" />);
export const Half = icon(
  <>
    <path d="M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14Z" />
    <path d="M10 3v14a7 7 0 0 0 0-14Z" fill="currentColor" />
  </>,
);
export const Pencil = icon(<path d="m4 16 .7-3.3L13 4.4a1.6 1.6 0 0 1 2.3 0l.3.3a1.6 1.6 0 0 1 0 2.3L7.3 15.3z" />);
export const Again = icon(<path d="M15.5 6.5A6.5 6.5 0 1 0 16.5 11M16 3v4h-4" />);
export const Fork = icon(
  <path d="M6 7.5v5M6 7.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM6 16.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM14 7.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4Zm0 0c0 3-4 3.5-7.5 5.2" />,
);
export const Pause = icon(<path d="M7.2 5v10M12.8 5v10" stroke-width="2.6" />);
export const Play = icon(<path d="M7 4.8 15 10l-8 5.2z" fill="currentColor" />);
export const Ask = icon(<path d="M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15ZM10 6.2v4.6M10 13.6h.01" />);
export const Leave = icon(<path d="M8 3.5H4.5v13H8M8 10h8.5M13.5 7l3 3-3 3" />);
