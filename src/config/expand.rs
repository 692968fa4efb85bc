//! `${VAR}`, `…_file` and `SWAPTIDE__A__B=…`.

use toml::{Table, Value};

use super::ConfigError;

/// Replaces `${VAR}` in every text, and `key_file = "path"` by `key = <contents>`.
pub(super) fn values(table: &mut Table, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let keys: Vec<String> = table.keys().cloned().collect();
    for key in keys {
        let Some(mut value) = table.remove(&key) else { continue };
        expand(&mut value, env)?;
        match (key.strip_suffix("_file"), &value) {
            (Some(base), Value::String(path)) => {
                let contents = std::fs::read_to_string(path).map_err(|e| format!("`{key}`: {path} cannot be read ({e})"))?;
                table.insert(base.to_owned(), Value::String(contents.trim_end().to_owned()));
            }
            _ => {
                table.insert(key, value);
            }
        }
    }
    Ok(())
}

fn expand(value: &mut Value, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    match value {
        Value::String(text) => *text = variables(text, env)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| expand(item, env))?,
        Value::Table(table) => values(table, env)?,
        _ => {}
    }
    Ok(())
}

fn variables(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, tail) =
            after.split_once('}').ok_or_else(|| "a value opens ${ and does not close it: write ${NAME}".to_owned())?;
        out.push_str(before);
        out.push_str(
            &env(name).ok_or_else(|| format!("the environment has no {name}, which the configuration uses as ${{{name}}}"))?,
        );
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Lays `SWAPTIDE__SECTION__KEY=value` over scalars of sections; lists of tables cannot be addressed, use `${VAR}` there.
pub(super) fn overrides(table: &mut Table, overrides: &[(String, String)]) -> Result<(), String> {
    for (name, text) in overrides {
        let Some(path) = name.strip_prefix("SWAPTIDE__") else { continue };
        let mut parts: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        let key = parts.pop().unwrap_or_default();
        let mut at = &mut *table;
        for part in parts {
            let section = at.entry(part).or_insert_with(|| Value::Table(Table::new()));
            at = section
                .as_table_mut()
                .ok_or_else(|| format!("{name} does not name a section; use ${{VAR}} in the file for lists"))?;
        }
        // A password may be a number, and is not one.
        let is_text = matches!(key.as_str(), "url" | "username" | "password");
        let value = if is_text { Value::String(text.clone()) } else { scalar(text) };
        at.insert(key, value);
    }
    Ok(())
}

fn scalar(text: &str) -> Value {
    let number = text.parse::<i64>().map(Value::Integer);
    number.or_else(|_| text.parse::<bool>().map(Value::Boolean)).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// One line with the place in the file. An error that was found after the variables were replaced has no place of its own; then
/// the line where its key stands is the best guess.
pub(super) fn located(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    let line = match error.span() {
        Some(span) => text.get(..span.start).map(|before| before.matches('\n').count().saturating_add(1)),
        None => key_of(&message).and_then(|key| {
            let position = text.lines().position(|l| {
                let l = l.trim_start().trim_start_matches(['[', ' ']);
                l.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', ']']))
                    || l.trim_end_matches([']', ' ']).rsplit('.').next() == Some(key)
            });
            // Not a key: a value, perhaps.
            position.or_else(|| text.lines().position(|l| l.contains(key))).map(|at| at.saturating_add(1))
        }),
    };
    ConfigError(match line {
        Some(line) => format!("{name}:{line}: {message}"),
        None => format!("{name}: {message}"),
    })
}

/// The first name in backticks.
fn key_of(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}
