import type { SetAside } from "perch/tanstack";
import { type Data, openData, type Todo } from "./data.js";
import { openNotes } from "./note.js";
import { currentSession, forgetSession, type Session, signIn } from "./session.js";

const get = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const parameter = (name: string) => new URLSearchParams(location.hash.slice(1)).get(name) ?? undefined;

/** An element with what is in it. */
function make<K extends keyof HTMLElementTagNameMap>(tag: K, ...content: (Node | string)[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.append(...content);
  return element;
}

/** Calls with what was typed into the one field of a form, and empties it. */
function onEnter(id: string, work: (text: string) => void): void {
  const form = get<HTMLFormElement>(id);
  form.onsubmit = (event) => {
    event.preventDefault();
    const field = form.elements[0] as HTMLInputElement;
    work(field.value.trim());
    field.value = "";
  };
}

async function run(session: Session): Promise<void> {
  const data = await openData(session, (entry) => showRefused(data, entry));
  const notes = openNotes(session);
  let projectId: string | undefined;
  let closeNote: (() => Promise<void>) | undefined;

  get("app").hidden = false;
  get("user").textContent = session.user;
  for (const entry of await data.outbox.setAside()) showRefused(data, entry);

  function draw(): void {
    const waiting = data.outbox.pending();
    get("state").textContent = waiting === 0 ? "everything is saved" : `${waiting} to be sent`;
    const projects = data.projects.toArray.sort((a, b) => a.name.localeCompare(b.name));
    get("projects").replaceChildren(
      ...projects.map(({ id, name }) => {
        const link = make("a", name);
        link.href = `#project=${id}`;
        return make("li", link);
      }),
    );
    get("name").textContent = projects.find(({ id }) => id === projectId)?.name ?? "…";
    const onlyOpen = get<HTMLInputElement>("only-open").checked;
    const shown = data.todos.toArray.filter((todo) => todo.project_id === projectId && !(onlyOpen && todo.done));
    get("todos").replaceChildren(...shown.sort((a, b) => a.title.localeCompare(b.title)).map(item));
  }

  function item({ id, title, done, written_by }: Todo): HTMLElement {
    const box = make("input");
    box.type = "checkbox";
    box.checked = done;
    box.onchange = () => data.setDone(id, box.checked);
    const words = make("span", title);
    words.className = done ? "done" : "";
    words.title = `written by ${written_by}`;
    return make("li", make("label", box, " ", words));
  }

  async function follow(): Promise<void> {
    const invitation = parameter("invitation");
    if (invitation !== undefined) {
      location.hash = `project=${await data.client.spaces.accept(invitation)}`;
      return;
    }
    if (parameter("project") === projectId) return;
    projectId = parameter("project");
    get("project").hidden = projectId === undefined;
    get("link").textContent = "";
    await closeNote?.();
    closeNote = projectId === undefined ? undefined : await notes.show(projectId, get("note"));
    draw();
  }

  onEnter("new-project", (name) => {
    location.hash = `project=${data.createProject(name)}`;
  });
  onEnter("new-todo", (title) => projectId !== undefined && data.addTodo(projectId, title));
  get("only-open").onchange = draw;
  get("archive").onclick = () => projectId !== undefined && data.archiveDone(projectId);
  get("invite").onclick = async () => {
    if (projectId === undefined) return;
    const invitation = await data.client.spaces.invite(projectId, { role: "editor" });
    get("link").textContent = `${location.origin}/#invitation=${encodeURIComponent(invitation)}`;
  };
  get("sign-out").onclick = async () => {
    await closeNote?.();
    notes.close();
    await data.outbox.signOut();
    await notes.forget();
    forgetSession();
    location.assign("/");
  };
  data.projects.subscribeChanges(draw, { includeInitialState: true });
  data.todos.subscribeChanges(draw, { includeInitialState: true });
  setInterval(draw, 500);
  window.onhashchange = () => void follow();
  await follow();
}

function showRefused(data: Data, { id, error }: SetAside): void {
  const dismiss = make("button", "Dismiss");
  const line = make("li", `Not saved: ${error.message} `, dismiss);
  dismiss.onclick = async () => {
    await data.outbox.discard(id);
    line.remove();
  };
  get("refused").append(line);
}

const session = currentSession();
if (session !== undefined) await run(session);
else {
  const form = get<HTMLFormElement>("sign-in");
  form.hidden = false;
  form.onsubmit = async (event) => {
    event.preventDefault();
    const { user, password } = Object.fromEntries(new FormData(form)) as Record<"user" | "password", string>;
    try {
      const signedIn = await signIn(user, password);
      form.hidden = true;
      await run(signedIn);
    } catch (error) {
      (form.querySelector("[role=alert]") as HTMLElement).textContent = String(error);
    }
  };
}
