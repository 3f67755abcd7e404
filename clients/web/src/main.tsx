import { render } from "preact";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/sidebar.css";
import "./styles/conversation.css";
import "./styles/messages.css";
import "./styles/prose.css";
import { App } from "./store/app.ts";
import { Page } from "./views/page.tsx";
import { isWhole } from "./whole.ts";

const root = document.getElementById("app");
if (root && isWhole()) render(<Page app={new App()} />, root);
