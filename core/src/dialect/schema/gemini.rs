//! `Gemini`'s `parametersJsonSchema` and `responseJsonSchema`
//! (<https://ai.google.dev/api/generate-content#FIELDS.response_json_schema>).
//!
//! Both ignore keywords that they do not know. What they refuse: words beside `$ref` (but those that begin with `$`, and
//! `description` and `default` in parameters), and, in an answer's schema, a property that is required and leads back to
//! where it stands.

use crate::json::{Map, Value, json};

use super::super::dropped::Dropped;
use super::walk::{Path, visit};
use super::walk::{leads_back, lone_reference, references};

pub(super) fn tool(schema: &mut Map, start: &Path<'_>) {
    visit(schema, start, &mut |node, _| {
        respell(node);
        lone_reference(node, &["description", "default"]);
    });
}

pub(super) fn answer(schema: &mut Map, start: &Path<'_>, dropped: &mut Dropped) {
    break_circles(schema, start, dropped);
    visit(schema, start, &mut |node, _| {
        respell(node);
        lone_reference(node, &[]);
    });
}

/// It knows no `const`, and wants to be told of items.
fn respell(node: &mut Map) {
    let one = node
        .get("const")
        .filter(|value| value.is_string() || value.is_number())
        .filter(|_| !node.contains_key("enum"));
    if let Some(one) = one {
        let one = json!([one]);
        node.remove("const");
        node.insert("enum".to_owned(), one);
    }
    super::openai::tell_items(node);
}

fn break_circles(schema: &mut Map, start: &Path<'_>, dropped: &mut Dropped) {
    let whole = Value::Object(schema.clone());
    let Some(Value::Object(mut definitions)) = schema.remove("$defs") else {
        optional(&whole, "#", schema, start, dropped);
        return;
    };
    optional(&whole, "#", schema, start, dropped);
    let there = start.name("$defs");
    for (name, definition) in &mut definitions {
        if let Value::Object(definition) = definition {
            let own = format!("#/$defs/{}", name.replace('~', "~0").replace('/', "~1"));
            optional(&whole, &own, definition, &there.name(name), dropped);
        }
    }
    schema.insert("$defs".to_owned(), definitions.into());
}

/// Asks no more for properties that lead back to `own`.
fn optional(whole: &Value, own: &str, schema: &mut Map, start: &Path<'_>, dropped: &mut Dropped) {
    visit(schema, start, &mut |node, here| {
        let Some(Value::Object(properties)) = node.get("properties") else {
            return;
        };
        let circles = |name: &Value| {
            let property = name
                .as_str()
                .and_then(|name| properties.get(name))
                .and_then(Value::as_object);
            let mut property = property.cloned().unwrap_or_default();
            references(&mut property).iter().any(|to| leads_back(whole, to, own))
        };
        let Some(Value::Array(names)) = node.get("required") else {
            return;
        };
        let kept: Vec<Value> = names.iter().filter(|name| !circles(name)).cloned().collect();
        if kept.len() < names.len() {
            dropped.note(here.child("required"));
            node.insert("required".to_owned(), kept.into());
        }
    });
}
