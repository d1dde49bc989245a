//! Compares `include/lhttp.h` with the code in `src/ffi/`: every function, type and constant of one must be in the
//! other, with the same types in the same order.

use std::{collections::BTreeMap, fs, path::Path};

/// The C type of each Rust type. All other names are ours: `LhttpServer` is `lhttp_server`.
const TYPES: [(&str, &str); 10] = [
    ("User", "void *"),
    ("c_int", "int"),
    ("c_char", "char"),
    ("c_void", "void"),
    ("usize", "size_t"),
    ("u16", "uint16_t"),
    ("u32", "uint32_t"),
    ("u64", "uint64_t"),
    ("i64", "int64_t"),
    ("LhttpStatus", "lhttp_status"),
];

#[test]
fn every_function_is_declared_as_it_is_written() {
    let code = functions_of_the_code();
    assert!(code.len() > 5, "the functions of the code are not found");
    assert_same(&code, &functions_of_the_header());
}

#[test]
fn every_struct_has_the_fields_that_it_is_declared_with() {
    let structs = code_items("#[repr(C)]\npub(super) struct ", "\n}");
    let code = structs.iter().map(|item| {
        let (name, fields) = item.split_once(" {\n").expect("a struct has fields");
        let fields = fields.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        let fields = fields.map(|field| {
            let (name, rust) = field.trim_end_matches(',').split_once(": ").expect("a field has a type");
            declare(name.trim_start_matches("pub(super) "), rust)
        });
        (c_name(name), fields.collect::<Vec<_>>().join("; "))
    });
    let declared = header().into_iter().filter_map(|statement| {
        let (name, fields) = statement.strip_prefix("typedef struct ")?.split_once(" { ")?;
        let (fields, again) = fields.rsplit_once("; } ")?;
        assert_eq!(name, again, "the type has the name of the struct");
        Some((name.to_owned(), fields.to_owned()))
    });
    let code: BTreeMap<_, _> = code.collect();
    assert!(code.contains_key("lhttp_config"), "the structs of the code are not found");
    assert_same(&code, &declared.collect());
}

#[test]
fn every_callback_has_the_type_that_it_is_declared_with() {
    let code = code_items("pub(super) type Lhttp", ";").into_iter().map(|item| {
        let (name, rust) = item.split_once('=').expect("an alias has a type");
        let (arguments, result) = rust.split_once("fn(").and_then(|(_, rest)| rest.rsplit_once(')')).expect("a fn");
        assert!(rust.contains("extern \"C\"") && result.trim_start().starts_with('>') || result.is_empty(), "{rust}");
        let arguments = arguments.rsplit_once(')').map_or(arguments, |(arguments, _)| arguments);
        (c_name(&format!("Lhttp{}", name.trim())), arguments_in_c(arguments, false))
    });
    let declared = header().into_iter().filter_map(|statement| {
        let (name, arguments) = statement.strip_prefix("typedef void (*")?.strip_suffix(')')?.split_once(")(")?;
        let types = arguments.split(", ").map(without_name).collect::<Vec<_>>();
        Some((name.to_owned(), types.join(", ")))
    });
    assert_same(&code.collect(), &declared.collect());
}

#[test]
fn every_status_has_the_number_that_it_is_declared_with() {
    let code = code_items("pub(super) const ", ";").into_iter().filter_map(|item| {
        let (name, value) = item.split_once(": Self = Self(")?;
        Some((format!("LHTTP_{name}"), value.trim_end_matches(')').to_owned()))
    });
    let declared = constants("LHTTP_OK").into_iter().map(|item| {
        let (name, value) = item.split_once(" = ").expect("a constant has a value");
        (name.to_owned(), value.to_owned())
    });
    assert_same(&code.collect(), &declared.collect());
}

#[test]
fn the_levels_of_the_log_have_their_numbers() {
    let levels = log::LevelFilter::iter().map(|level| format!("LHTTP_LOG_{level} = {}", level as usize));
    assert_eq!(constants("LHTTP_LOG_OFF"), levels.collect::<Vec<_>>());
}

#[test]
fn every_kind_of_event_has_its_number() {
    let code = code_items("\nconst EVENT_", ";")
        .into_iter()
        .map(|item| format!("LHTTP_EVENT_{}", item.replace(": c_int", "")));
    assert_eq!(constants("LHTTP_EVENT_NONE"), code.collect::<Vec<_>>());
    assert_eq!(code_items("\nconst NEVER: ", ";"), ["u32 = u32::MAX"]);
    assert!(fs::read_to_string(path("include/lhttp.h")).unwrap().contains("#define LHTTP_NEVER UINT32_MAX"));
}

#[test]
fn every_opaque_type_is_declared() {
    let code = code_items("pub(super) enum Lhttp", " {}").into_iter();
    let code: BTreeMap<_, _> = code.map(|name| (c_name(&format!("Lhttp{name}")), String::new())).collect();
    let declared = header().into_iter().filter_map(|statement| {
        let (name, again) = statement.strip_prefix("typedef struct ")?.split_once(' ')?;
        (name == again).then(|| (name.to_owned(), String::new()))
    });
    assert_same(&code, &declared.collect());
}

#[test]
fn the_header_says_the_version() {
    let line = format!("#define LHTTP_VERSION \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(fs::read_to_string(path("include/lhttp.h")).unwrap().contains(&line), "{line}");
}

#[test]
fn every_function_stops_panics() {
    for item in code_items(concat!("#[un", "safe(no_mangle)]\n"), "\n}") {
        let (head, body) = item.split_once("{\n").expect("a function has a body");
        let guards = ["guard(", "guard_or(", "guard_status(", "guard_anywhere("];
        let is_guarded = guards.iter().any(|guard| body.trim_start().starts_with(guard));
        assert!(is_guarded, "{head}");
        assert_eq!(
            body.lines()
                .filter(|line| line.len() - line.trim_start().len() == 4
                    && line.starts_with("    ")
                    && !line.trim_start().starts_with('}'))
                .count(),
            1,
            "{head}: its body is one call of the guard"
        );
    }
}

fn assert_same(code: &BTreeMap<String, String>, header: &BTreeMap<String, String>) {
    for (name, written) in code {
        assert_eq!(Some(written), header.get(name), "{name}: in the code, and in the header");
    }
    let undefined: Vec<_> = header.keys().filter(|name| !code.contains_key(*name)).collect();
    assert!(undefined.is_empty(), "in the header, but not in the code: {undefined:?}");
}

/// By name: the result type and the arguments.
fn functions_of_the_code() -> BTreeMap<String, String> {
    let mut functions = BTreeMap::new();
    for item in code_items("extern \"C\" fn lhttp_", "{\n") {
        let (name, rest) = item.split_once('(').expect("a function has arguments");
        let (arguments, result) = rest.rsplit_once(')').expect("they end");
        let result = result.trim().strip_prefix("-> ").map_or("void".to_owned(), |rust| c_type(rust.trim()));
        let arguments = arguments_in_c(arguments, true);
        functions.insert(format!("lhttp_{name}"), format!("{result} ({arguments})"));
    }
    functions
}

fn functions_of_the_header() -> BTreeMap<String, String> {
    let mut functions = BTreeMap::new();
    for statement in header() {
        let is_type = ["typedef ", "enum "].iter().any(|start| statement.starts_with(start));
        let Some((head, arguments)) = statement.split_once('(').filter(|_| !is_type) else { continue };
        let at = head.rfind([' ', '*']).map_or(0, |at| at + 1);
        let (result, name) = head.split_at(at);
        let declared = format!("{} ({})", result.trim(), arguments.trim_end_matches(')'));
        assert!(functions.insert(name.to_owned(), declared).is_none(), "{name} is declared twice");
    }
    functions
}

/// The constants of the enum that begins with this one, each as `NAME = VALUE`.
fn constants(first: &str) -> Vec<String> {
    let start = format!("enum {{ {first} ");
    let statements = header();
    let list = statements.iter().find(|statement| statement.starts_with(&start)).expect("the enum is there");
    let list = list.strip_prefix("enum { ").and_then(|list| list.strip_suffix(" }")).expect("an enum has braces");
    list.split(", ").map(str::to_owned).collect()
}

fn arguments_in_c(arguments: &str, named: bool) -> String {
    let arguments = arguments.split(',').map(str::trim).filter(|argument| !argument.is_empty());
    let in_c: Vec<_> = arguments
        .map(|argument| match argument.split_once(": ") {
            Some((name, rust)) if named => declare(name, rust),
            Some((_, rust)) => c_type(rust),
            None => c_type(argument),
        })
        .collect();
    if in_c.is_empty() { "void".to_owned() } else { in_c.join(", ") }
}

/// The C declaration of `name` with this Rust type.
fn declare(name: &str, rust: &str) -> String {
    let c = c_type(rust);
    if c.ends_with('*') { format!("{c}{name}") } else { format!("{c} {name}") }
}

fn c_type(rust: &str) -> String {
    if let Some(pointee) = rust.strip_prefix("*mut ") {
        let pointee = c_type(pointee);
        return if pointee.ends_with('*') { format!("{pointee}*") } else { format!("{pointee} *") };
    }
    if let Some(pointee) = rust.strip_prefix("*const ") {
        return format!("const {}", c_type(&format!("*mut {pointee}")));
    }
    let known = TYPES.iter().find(|(name, _)| *name == rust).map(|(_, c)| (*c).to_owned());
    known.unwrap_or_else(|| c_name(rust))
}

/// `LhttpServer` is `lhttp_server`.
fn c_name(rust: &str) -> String {
    assert!(rust.starts_with("Lhttp"), "{rust} is no name of ours, and TYPES does not have it");
    let mut name = String::new();
    for c in rust.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

fn without_name(argument: &str) -> String {
    let end = argument.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
    end.trim_end().to_owned()
}

/// The declarations of the header, without comments and directives. Blanks and line ends become single spaces.
fn header() -> Vec<String> {
    let text = fs::read_to_string(path("include/lhttp.h")).expect("the header is there");
    let mut code = String::new();
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").expect("a comment ends").1;
    }
    code.push_str(rest);
    // The braces of `extern "C"` are on lines of their own.
    let lines = code.lines().filter(|line| !line.starts_with('#') && !line.starts_with("extern \"C\"") && *line != "}");
    let code = lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    let mut depth = 0;
    let statements = code.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ';' && depth == 0
    });
    statements.map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}

/// The text between `start` and the next `end` in the code below `src/ffi/`, without its unit tests.
fn code_items(start: &str, end: &str) -> Vec<String> {
    let mut files = vec![path("src/ffi.rs")];
    let mut folders = vec![path("src/ffi")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there").map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { folders.push(entry) } else { files.push(entry) }
        }
    }
    let mut items = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file is text");
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        items.extend(between(text, start, end).into_iter().map(str::to_owned));
    }
    items
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    let items = text.match_indices(start).map(|(at, _)| &text[at + start.len()..]);
    items.map(|rest| rest.split_once(end).unwrap_or_else(|| panic!("{start:?} without {end:?}")).0).collect()
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
