import { useState } from "preact/hooks";
import { type Access, explain } from "../explain.js";
import { Badge, Card, Failure, Loading } from "../parts/basics.js";
import { useView } from "../use-view.js";

interface Place {
  readonly space: string;
  readonly record?: { readonly app_id: string; readonly table_name: string; readonly record_id: string };
}

/** Why may somebody see this, or why not? */
export function AccessQuestion({ space, record }: Place) {
  const [text, setText] = useState("");
  const [user, setUser] = useState("");
  return (
    <Card title="Who sees this?">
      <form
        class="ask"
        onSubmit={(event) => {
          event.preventDefault();
          setUser(text.trim());
        }}
      >
        <label class="grow">
          <span class="hidden">User id</span>
          <input placeholder="A user’s id" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <button type="submit" disabled={text.trim() === ""}>
          Explain
        </button>
      </form>
      {user !== "" && <Answer key={user} user={user} space={space} {...(record && { record })} />}
    </Card>
  );
}

const marks = { yes: ["good", "yes"], no: ["bad", "no"], note: ["neutral", "note"] } as const;

function Answer({ user, space, record }: Place & { user: string }) {
  const { data, error } = useView<Access>("access", { user_id: user, space_id: space, ...record });
  if (data === undefined) return error === undefined ? <Loading /> : <Failure error={error} />;
  return (
    <ul class="findings" aria-live="polite">
      {explain(user, space, record?.record_id, data).map(({ says, text }) => (
        <li key={text}>
          <Badge tone={marks[says][0]}>{marks[says][1]}</Badge>
          <div>{text}</div>
        </li>
      ))}
    </ul>
  );
}
