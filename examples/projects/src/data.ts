import { createCollection } from "@tanstack/db";
import { electricCollectionOptions } from "@tanstack/electric-db-collection";
import { IndexedDBAdapter } from "@tanstack/offline-transactions";
import { createPerchClient, newId } from "perch/client";
import { keepRows, perchOutbox, perchWrites, type RowSpec, type SetAside } from "perch/tanstack";
import type { Session } from "./session.js";

export type Project = { id: string; name: string };
export type Todo = {
  id: string;
  project_id: string;
  title: string;
  done: boolean;
  archived: boolean;
  written_by: string;
};

const appId = "projects";
const projectSpec: RowSpec<Project> = { appId, table: "projects", space: "id", columns: ["name"] };
const todoSpec: RowSpec<Todo> = { appId, table: "todos", space: "project_id", columns: ["title", "done"] };

/** The rows of a user, in sync and kept on the device, and what the user does to them: shown at once, kept, sent when there is a network. */
export async function openData({ user, token }: Session, onRefused: (entry: SetAside) => void) {
  const client = createPerchClient({ url: location.origin, token, clientId: newId() });
  const shape = (table: string, where?: string) => ({
    url: `${location.origin}/v1/shape`,
    params: { table, ...(where !== undefined && { where }) },
    headers: { authorization: `Bearer ${token}` },
  });
  const storage = new IndexedDBAdapter(`projects/${user}`);
  const projects = createCollection(
    keepRows(
      electricCollectionOptions<Project>({
        id: "projects",
        shapeOptions: shape("projects"),
        getKey: ({ id }) => id,
        ...perchWrites(client, projectSpec),
      }),
      { storage },
    ),
  );
  // A filter, by Postgres: what is archived leaves the device.
  const todos = createCollection(
    keepRows(
      electricCollectionOptions<Todo>({
        id: "todos",
        shapeOptions: shape("todos", "not archived"),
        getKey: ({ id }) => id,
        ...perchWrites(client, todoSpec),
      }),
      { storage },
    ),
  );
  const outbox = await perchOutbox(client, {
    user,
    storage,
    collections: {
      projects: { collection: projects, spec: projectSpec },
      todos: { collection: todos, spec: todoSpec },
    },
    onSetAside: onRefused,
  });
  const call = (name: string, args: Record<string, unknown>, shown: () => void) =>
    outbox.mutate(shown, { call: { appId, name, args } });

  return {
    client,
    projects,
    todos,
    outbox,
    /** Out: its id, which is that of its space. */
    createProject(name: string): string {
      const id = newId();
      call("create_project", { id, name }, () => projects.insert({ id, name }));
      return id;
    },
    addTodo(project_id: string, title: string) {
      const todo = { id: newId(), project_id, title, done: false, archived: false, written_by: user };
      outbox.mutate(() => todos.insert(todo));
    },
    setDone(id: string, done: boolean) {
      outbox.mutate(() =>
        todos.update(id, (todo) => {
          todo.done = done;
        }),
      );
    },
    archiveDone(project_id: string) {
      const done = todos.toArray.filter((todo) => todo.project_id === project_id && todo.done);
      if (done.length > 0) call("archive_done", { project_id }, () => todos.delete(done.map(({ id }) => id)));
    },
  };
}

export type Data = Awaited<ReturnType<typeof openData>>;
