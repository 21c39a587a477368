//! Where schemas stand within a schema, what stands behind each keyword, and where references lead.

use crate::json::{Map, Value, json};

/// Where in the caller's request a schema stands. Spelled out only when it is needed.
pub(super) struct Path<'p> {
    up: Option<&'p Path<'p>>,
    step: Step<'p>,
}

pub(super) enum Step<'p> {
    Name(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(super) fn start(path: &'p str) -> Self {
        Self {
            up: None,
            step: Step::Name(path),
        }
    }

    pub(super) fn name<'s>(&'s self, name: &'s str) -> Path<'s> {
        Path {
            up: Some(self),
            step: Step::Name(name),
        }
    }

    pub(super) fn index(&self, index: usize) -> Path<'_> {
        Path {
            up: Some(self),
            step: Step::Index(index),
        }
    }

    pub(super) fn spell(&self) -> String {
        let mut path = self.up.map(Path::spell).unwrap_or_default();
        match self.step {
            Step::Name(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Step::Index(index) => {
                path.push('[');
                path.push_str(&index.to_string());
                path.push(']');
            }
        }
        path
    }

    pub(super) fn child(&self, name: &str) -> String {
        self.name(name).spell()
    }
}

/// What stands behind a keyword.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Schema,
    /// A schema, or true or false.
    SchemaOrFlag,
    /// A list of schemas.
    Schemas,
    /// Schemas by name: of properties, or of definitions.
    Named,
    Types,
    Count,
    Number,
    Text,
    Flag,
    /// A list of names, each once.
    Names,
    /// A list of values.
    Values,
    Anything,
}

pub(super) fn holds(keyword: &str) -> Holds {
    match keyword {
        "not" | "if" | "then" | "else" | "contains" | "propertyNames" | "items" | "contentSchema" => Holds::Schema,
        "additionalProperties" | "unevaluatedProperties" | "unevaluatedItems" => Holds::SchemaOrFlag,
        "anyOf" | "oneOf" | "allOf" | "prefixItems" => Holds::Schemas,
        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => Holds::Named,
        "type" => Holds::Types,
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minContains"
        | "maxContains" => Holds::Count,
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => Holds::Number,
        "$ref" | "$id" | "$anchor" | "$comment" | "title" | "description" | "pattern" | "format"
        | "contentEncoding" | "contentMediaType" => Holds::Text,
        "uniqueItems" | "deprecated" | "readOnly" | "writeOnly" => Holds::Flag,
        "required" => Holds::Names,
        "enum" | "examples" => Holds::Values,
        _ => Holds::Anything,
    }
}

/// Calls `act` for every schema within `node` and then for itself.
pub(super) fn visit(node: &mut Map, here: &Path<'_>, act: &mut dyn FnMut(&mut Map, &Path<'_>)) {
    for (keyword, value) in node.iter_mut() {
        let there = here.name(keyword);
        match (holds(keyword), value) {
            (Holds::Schema | Holds::SchemaOrFlag, Value::Object(schema)) => visit(schema, &there, act),
            (Holds::Schemas, Value::Array(schemas)) => {
                for (index, schema) in schemas.iter_mut().enumerate() {
                    if let Value::Object(schema) = schema {
                        visit(schema, &there.index(index), act);
                    }
                }
            }
            (Holds::Named, Value::Object(schemas)) => {
                for (name, schema) in schemas.iter_mut() {
                    if let Value::Object(schema) = schema {
                        visit(schema, &there.name(name), act);
                    }
                }
            }
            _ => {}
        }
    }
    act(node, here);
}

/// What a reference leads to; none outside of the schema.
pub(super) fn target<'s>(whole: &'s Value, reference: &str) -> Option<&'s Value> {
    let pointer = reference.strip_prefix('#')?;
    if pointer.is_empty() {
        return Some(whole);
    }
    let mut found = whole;
    if !pointer.starts_with('/') {
        return None;
    }
    for step in pointer.split('/').skip(1) {
        let step = percent_decoded(step).replace("~1", "/").replace("~0", "~");
        found = match found {
            Value::Object(map) => map.get(&step)?,
            Value::Array(list) => list.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    found.is_object().then_some(found)
}

pub(super) fn percent_decoded(text: &str) -> String {
    let bytes = super::super::data_url::percent_decoded(text);
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The values, each once, in their order.
pub(super) fn each_once<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        if !kept.contains(value) {
            kept.push(value.clone());
        }
    }
    kept
}

/// The schema with a reference alone in it, where other words stand beside one: those mean the same beside a choice of
/// one.
pub(super) fn lone_reference(node: &mut Map, beside: &[&str]) {
    let goes_along = |name: &str| name.starts_with('$') || beside.contains(&name);
    if !node.contains_key("$ref") || node.keys().all(|name| goes_along(name)) {
        return;
    }
    let Some(reference) = node.remove("$ref") else { return };
    let reference = json!({ "$ref": reference });
    match node.remove("anyOf") {
        None => node.insert("anyOf".to_owned(), json!([reference])),
        Some(choice) => {
            let mut all = vec![reference, json!({ "anyOf": choice })];
            if let Some(Value::Array(before)) = node.remove("allOf") {
                all.extend(before);
            }
            node.insert("allOf".to_owned(), all.into())
        }
    };
}

/// The references in a schema.
pub(super) fn references(node: &mut Map) -> Vec<String> {
    let mut found = Vec::new();
    visit(node, &Path::start(""), &mut |node, _| {
        if let Some(to) = node.get("$ref").and_then(Value::as_str) {
            found.push(to.to_owned());
        }
    });
    found
}

/// Whether what `from` names refers, at any remove, to `to`.
pub(super) fn leads_back(whole: &Value, from: &str, to: &str) -> bool {
    let (mut seen, mut next) = (Vec::new(), vec![from.to_owned()]);
    while let Some(name) = next.pop() {
        if name == to {
            return true;
        }
        if seen.contains(&name) {
            continue;
        }
        if let Some(Value::Object(schema)) = target(whole, &name) {
            let mut schema = schema.clone();
            if name == "#" {
                schema.remove("$defs");
            }
            next.extend(references(&mut schema));
        }
        seen.push(name);
    }
    false
}
