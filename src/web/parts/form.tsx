import type { PropsWithChildren } from "hono/jsx";

/** What was wrong with a form, above it. Screen readers announce it. */
export function Problems({ problems = [] }: { problems?: readonly string[] | undefined }) {
  if (problems.length === 0) return null;
  return (
    <div class="error-messages" role="alert">
      <ul>
        {problems.map((problem) => (
          <li>{problem}</li>
        ))}
      </ul>
    </div>
  );
}

type FieldProps = {
  name: string;
  label: string;
  value?: string | undefined;
  type?: "text" | "email" | "password" | "url" | "search" | "datetime-local";
  /** More about the field, below it. */
  hint?: string;
  placeholder?: string;
  autocomplete?: string;
  required?: boolean;
  maxlength?: number;
  minlength?: number;
  autofocus?: boolean;
};

/** A labelled text field. */
export function Field({ name, label, hint, type = "text", ...attributes }: FieldProps) {
  return (
    <Labelled name={name} label={label} hint={hint}>
      <input
        id={name}
        name={name}
        type={type}
        aria-describedby={hint === undefined ? undefined : `${name}-hint`}
        {...attributes}
      />
    </Labelled>
  );
}

/** A labelled text field of several lines. */
export function TextArea({ value, label, hint, ...attributes }: Omit<FieldProps, "type"> & { rows: number }) {
  const { name } = attributes;
  return (
    <Labelled name={name} label={label} hint={hint}>
      <textarea id={name} aria-describedby={hint === undefined ? undefined : `${name}-hint`} {...attributes}>
        {/* A browser drops one line break at the start. */}
        {value === undefined || value === "" ? value : `\n${value}`}
      </textarea>
    </Labelled>
  );
}

function Labelled({
  name,
  label,
  hint,
  children,
}: PropsWithChildren<{ name: string; label: string; hint?: string | undefined }>) {
  return (
    <div class="field">
      <label for={name}>{label}</label>
      {children}
      {hint === undefined ? null : (
        <p class="hint" id={`${name}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}
