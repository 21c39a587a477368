//! The top of a schema as one object with its properties: what every provider wants of a tool's arguments, and `OpenAI` of
//! an answer.

use crate::json::{Map, Value, json};

use super::super::RequestError;
use super::super::dropped::Dropped;
use super::walk::each_once;
use super::walk::{Path, target};

/// References and combinations at the top that are followed.
const MAX_STEPS: u32 = 16;

/// The schema with `type: object` at its top, references there replaced by what they name, and all alternatives in one,
/// which allows more than each of them did. With `unions`, alternatives may stay.
pub(super) fn object(schema: Map, here: &Path<'_>, unions: bool, dropped: &mut Dropped) -> Result<Map, RequestError> {
    let whole = Value::Object(schema.clone());
    flat(schema, &whole, here, unions, dropped)
}

/// A schema somewhere in `whole` as one object, with its alternatives.
pub(super) fn merged(schema: Map, whole: &Value, here: &Path<'_>, dropped: &mut Dropped) -> Result<Map, RequestError> {
    flat(schema, whole, here, true, dropped)
}

fn flat(schema: Map, whole: &Value, here: &Path<'_>, unions: bool, dropped: &mut Dropped) -> Result<Map, RequestError> {
    let mut top = Top {
        whole,
        unions,
        less: false,
    };
    let problem = "must be the schema of an object for the chosen provider";
    let refusal = || RequestError::unsupported(here.spell(), problem);
    let flat = top.flat(schema, MAX_STEPS).ok_or_else(refusal)?;
    if top.less {
        dropped.note(here.spell());
    }
    Ok(flat)
}

struct Top<'s> {
    whole: &'s Value,
    unions: bool,
    /// Whether something was lost.
    less: bool,
}

impl Top<'_> {
    /// None where no object would do.
    fn flat(&mut self, mut node: Map, steps: u32) -> Option<Map> {
        let steps = steps.checked_sub(1)?;
        match node.get("type") {
            None => {}
            Some(Value::Array(kinds)) if kinds.contains(&json!("object")) => self.less |= kinds.len() > 1,
            Some(kind) if kind == "object" => {}
            Some(_) => return None,
        }
        for keyword in ["enum", "const", "not"] {
            self.less |= node.remove(keyword).is_some();
        }
        if let Some(Value::String(reference)) = node.remove("$ref") {
            let named = target(self.whole, &reference)?.as_object()?.clone();
            let named = self.flat(without_definitions(named, &reference), steps)?;
            self.both(&mut node, named);
        }
        if let Some(Value::Array(all)) = node.remove("allOf") {
            for part in all {
                let Value::Object(part) = part else { continue };
                let part = self.flat(part, steps)?;
                self.both(&mut node, part);
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            if !self.unions
                && let Some(Value::Array(choice)) = node.remove(keyword)
            {
                self.choice(&mut node, choice, steps)?;
            }
        }
        node.insert("type".to_owned(), "object".into());
        Some(node)
    }

    /// Takes in what must hold as well.
    fn both(&mut self, node: &mut Map, more: Map) {
        for (keyword, value) in more {
            let Some(old) = node.get_mut(&keyword).filter(|old| **old != value) else {
                node.insert(keyword, value);
                continue;
            };
            match (keyword.as_str(), old, value) {
                ("properties" | "$defs" | "patternProperties", Value::Object(old), Value::Object(new)) => {
                    join(old, new, "allOf");
                }
                ("required", Value::Array(old), Value::Array(new)) => {
                    *old = each_once(old.clone().iter().chain(&new));
                }
                ("additionalProperties", old, new) => {
                    if new == false {
                        *old = new;
                    } else {
                        self.less |= *old != false;
                    }
                }
                ("title" | "description" | "$comment" | "examples" | "default" | "$id", ..) => {}
                _ => self.less = true,
            }
        }
    }

    /// Takes in the alternatives: what one of them knows is known, what all of them ask for is asked for.
    fn choice(&mut self, node: &mut Map, choice: Vec<Value>, steps: u32) -> Option<()> {
        let alternatives = choice.len();
        let mut objects: Vec<Map> = Vec::new();
        for alternative in choice {
            if let Value::Object(alternative) = alternative {
                objects.extend(self.flat(alternative, steps));
            }
        }
        self.less |= alternatives > 1;
        let required = |object: &Map| {
            let names = object.get("required").and_then(Value::as_array);
            names.cloned().unwrap_or_default()
        };
        let mut common = required(objects.first()?);
        let mut closed = true;
        let mut properties = Map::new();
        for mut object in objects {
            let names = required(&object);
            common.retain(|name| names.contains(name));
            closed &= object.get("additionalProperties").is_some_and(|more| *more == false);
            if let Some(Value::Object(more)) = object.remove("properties") {
                join(&mut properties, more, "anyOf");
            }
        }
        let mut all: Map = Map::new();
        all.insert("properties".to_owned(), properties.into());
        if !common.is_empty() {
            all.insert("required".to_owned(), common.into());
        }
        if closed && !node.contains_key("properties") {
            all.insert("additionalProperties".to_owned(), false.into());
        }
        self.both(node, all);
        Some(())
    }
}

/// A reference to the whole names its definitions too.
fn without_definitions(mut named: Map, reference: &str) -> Map {
    if reference == "#" {
        named.remove("$defs");
    }
    named
}

/// Puts the properties of both together; where both have one, `how` says how they go together.
fn join(into: &mut Map, more: Map, how: &str) {
    for (name, schema) in more {
        match into.get_mut(&name).filter(|old| **old != schema) {
            Some(old) => {
                let first = old.take();
                *old = json!({ how: [first, schema] });
            }
            None => {
                into.insert(name, schema);
            }
        }
    }
}
