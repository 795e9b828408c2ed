use std::{fs, path::Path};

use tempfile::TempDir;

use crate::support::{
    Sandbox, another_build, ask, foreign_guest, load_in_process, overview, own_port, swap,
    wait_until,
};

const PAGE: &str = include_str!("../../../plugins/README.md");

/// The recipe of one plugin.
struct Recipe {
    name: &'static str,
    directory: TempDir,
    source: String,
}

impl Recipe {
    fn new(name: &'static str) -> Self {
        let source = block(&format!("// {name}/src/lib.rs\n")).to_owned();
        Self { name, directory: tempfile::tempdir().unwrap(), source }
    }

    /// Compiles it in its directory, with this workspace as the checkout. Returns the arguments that it is served with.
    fn make(&self) -> [String; 4] {
        let (name, directory) = (self.name, self.directory.path());
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_str().unwrap();
        let manifest = block(&format!("# {name}/Cargo.toml\n"));
        assert!(manifest.contains("\"../tally/"));
        let manifest = manifest.replace("\"../tally/", &format!("\"{checkout}/"));
        let served = format!("tally --plugin target/wasm32-wasip2/release/{name}.wasm --grant ");
        let commands = blocks().find(|block| block.contains(&served)).unwrap();
        let (compile, serve) = commands.split_once('\n').unwrap();
        let args: Vec<&str> = serve.split_whitespace().skip(1).collect();
        let [_, file, _, grant] = args[..] else { panic!("{serve}") };
        let wasm = foreign_guest(directory, &manifest, &self.source, compile, file);
        ["--plugin", wasm.to_str().unwrap(), "--grant", grant].map(String::from)
    }
}

/// The code blocks of the page.
fn blocks() -> impl Iterator<Item = &'static str> {
    // Between two fences is a block, after its language, and then text.
    let parts = PAGE.split("```").skip(1).step_by(2);
    parts.map(|block| block.split_once('\n').unwrap().1)
}

/// The one that begins with `line`, without it.
fn block(line: &str) -> &'static str {
    blocks().find_map(|block| block.strip_prefix(line)).unwrap()
}

#[test]
fn plugins_made_by_the_recipe_count_exactly_with_and_without_std() {
    for name in ["mine", "chatty"] {
        let recipe = Recipe::new(name);
        let args = recipe.make();
        let args = args.each_ref().map(String::as_str);
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&args);
        assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
        let [_, plugin, grant @ ..] = args;
        let report = load_in_process(plugin, &grant, 4, 100);
        assert!(report.verdict.right(), "{report}");
    }
}

#[test]
fn what_a_plugin_with_std_writes_and_panics_with_is_in_the_log() {
    let mut recipe = Recipe::new("chatty");
    let writes = "eprintln!(\"{key} grows by {delta}\");";
    let panics = "if delta < 0 { panic!(\"{key} is not to shrink\") }";
    assert!(recipe.source.contains(writes));
    recipe.source = recipe.source.replace(writes, &format!("{writes} {panics}"));
    let args = recipe.make();
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&args.each_ref().map(String::as_str));
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    assert_eq!(ask(tally.address(), "POST /counters/count/inc?by=-1").status, 500);
    for text in ["count grows by 1", "count is not to shrink", "the plugin broke off"] {
        wait_until(text, || sandbox.stderr().contains(text));
    }
}

#[test]
fn a_plugin_given_by_its_path_keeps_its_name_and_its_grants_whatever_lies_in_the_directory() {
    let sandbox = Sandbox::new();
    let plugins = sandbox.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let build = |mark| another_build("shared-memory-atomic", mark);
    fs::write(sandbox.path().join("mine.wasm"), build(b'1')).unwrap();
    let port = own_port();
    let outside = ["--plugin", "./mine.wasm", "--grant", "mine=shared-memory", "--plugin-dir"];
    let outside = [&outside[..], &["plugins", "--port", &port]].concat();
    let tally = sandbox.start(&outside);
    assert_eq!(ask(tally.address(), "GET /readyz").json()["plugin"], "mine");
    let digest = overview(&tally)["active"]["digest"].clone();
    tally.kill();
    fs::write(plugins.join("mine.wasm"), build(b'2')).unwrap();
    let tally = sandbox.start(&outside);
    assert!(tally.serving().ends_with("with mine"), "{}", tally.serving());
    // The other one has its own name, and is granted nothing.
    wait_until("it is loaded", || {
        let overview = overview(&tally);
        let plugins = overview["plugins"].as_array().unwrap().clone();
        let served: Vec<_> = plugins.iter().filter(|plugin| plugin["name"] == "mine").collect();
        assert_eq!(served.len(), 1, "{served:?}");
        assert_eq!(served[0]["digest"], digest);
        plugins.iter().any(|it| it["name"] == "mine.wasm" && it["state"] == "refused")
    });
    // Its name says which is meant, and so does its path.
    assert_eq!(swap(&tally, "shared-memory-flock").json()["plugin"], "shared-memory-flock");
    assert_eq!(swap(&tally, "mine").json()["plugin"], "mine");
    assert_eq!(overview(&tally)["active"]["digest"], digest);
    tally.kill();

    let sandbox = Sandbox::new();
    let plugins = sandbox.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::write(plugins.join("mine.wasm"), build(b'1')).unwrap();
    for path in ["plugins/mine.wasm", "./plugins/mine.wasm", "mine"] {
        let args = ["--plugin", path, "--grant", "mine=shared-memory", "--plugin-dir", "plugins"];
        let tally = sandbox.start(&args);
        assert_eq!(ask(tally.address(), "GET /readyz").json()["plugin"], "mine", "{path}");
    }
}
