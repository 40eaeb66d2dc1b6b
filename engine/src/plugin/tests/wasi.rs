//! What WASI answers where the sandbox has nothing: an empty list, the interface's own error, or a trap that names the call.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Engine, Store};

use crate::plugin::instance::Guest;
use crate::plugin::logs::Logs;
use crate::plugin::wasi;

/// Passes each call on to what it imports. The versions are of several years.
const COMPONENT: &str = r#"(component
  (import "wasi:io/error@0.2.6" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $io-error))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-arguments" (func (result (list string))))
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "initial-cwd" (func (result (option string))))))
  (import "wasi:cli/exit@0.2.3" (instance $exit (export "exit" (func (param "status" (result))))))
  (import "wasi:filesystem/types@0.2.6" (instance $types
    (export "descriptor" (type (sub resource)))
    (export "error" (type $e (eq $io-error)))
    (type $code' (enum "access" "busy"))
    (export "error-code" (type $code (eq $code')))
    (export "filesystem-error-code" (func (param "err" (borrow $e)) (result (option $code))))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.6" (instance $preopens
    (export "descriptor" (type $d (eq $descriptor)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
  (import "wasi:sockets/tcp-create-socket@0.2.12" (instance $tcp
    (type $family' (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type $family (eq $family')))
    (type $code' (enum "unknown" "access-denied"))
    (export "error-code" (type $code (eq $code')))
    (export "tcp-socket" (type $socket (sub resource)))
    (export "create-tcp-socket" (func (param "address-family" $family) (result (result (own $socket) (error $code)))))))
  (alias export $tcp "ip-address-family" (type $family)) (alias export $tcp "error-code" (type $code))
  (alias export $tcp "tcp-socket" (type $socket))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $bytes))
  (alias core export $m "realloc" (core func $realloc))
  (core func $arguments (canon lower (func $environment "get-arguments") (memory $bytes) (realloc $realloc)))
  (core func $variables (canon lower (func $environment "get-environment") (memory $bytes) (realloc $realloc)))
  (core func $folder (canon lower (func $environment "initial-cwd") (memory $bytes) (realloc $realloc)))
  (core func $directories (canon lower (func $preopens "get-directories") (memory $bytes) (realloc $realloc)))
  (core func $create (canon lower (func $tcp "create-tcp-socket") (memory $bytes) (realloc $realloc)))
  (core func $end (canon lower (func $exit "exit")))
  (core module $plugin
    (import "w" "arguments" (func $arguments (param i32)))
    (import "w" "variables" (func $variables (param i32)))
    (import "w" "folder" (func $folder (param i32)))
    (import "w" "directories" (func $directories (param i32)))
    (import "w" "create" (func $create (param i32 i32)))
    (import "w" "end" (func $end (param i32)))
    (func (export "arguments") (result i32) (call $arguments (i32.const 16)) (i32.const 16))
    (func (export "variables") (result i32) (call $variables (i32.const 16)) (i32.const 16))
    (func (export "folder") (result i32) (call $folder (i32.const 16)) (i32.const 16))
    (func (export "directories") (result i32) (call $directories (i32.const 16)) (i32.const 16))
    (func (export "create") (param i32) (result i32) (call $create (local.get 0) (i32.const 16)) (i32.const 16))
    (func (export "end") (param i32) (call $end (local.get 0))))
  (core instance $p (instantiate $plugin (with "w" (instance
    (export "arguments" (func $arguments)) (export "variables" (func $variables)) (export "folder" (func $folder)) (export "directories" (func $directories)) (export "create" (func $create)) (export "end" (func $end))))))
  (func (export "arguments") (result (list string)) (canon lift (core func $p "arguments") (memory $bytes)))
  (func (export "variables") (result (list (tuple string string))) (canon lift (core func $p "variables") (memory $bytes)))
  (func (export "folder") (result (option string)) (canon lift (core func $p "folder") (memory $bytes)))
  (func (export "directories") (result (list (tuple (own $descriptor) string))) (canon lift (core func $p "directories") (memory $bytes)))
  (func (export "create") (param "family" $family) (result (result (own $socket) (error $code)))
    (canon lift (core func $p "create") (memory $bytes)))
  (func (export "end") (param "status" (result)) (canon lift (core func $p "end")))
)"#;

fn call(name: &str, arguments: &[Val], results: usize) -> wasmtime::Result<Vec<Val>> {
    let engine = Engine::default();
    let component = Component::new(&engine, wat::parse_str(COMPONENT).unwrap())?;
    let mut linker = Linker::new(&engine);
    wasi::link_io(&mut linker)?;
    wasi::link(&mut linker, &component)?;
    let logs = Arc::new(Logs::new("wasi".to_owned(), 10));
    let mut store = Store::new(&engine, Guest::new("digest", &logs, 1 << 20, Duration::from_secs(60)));
    let instance = linker.instantiate(&mut store, &component)?;
    let mut answers = vec![Val::Bool(false); results];
    instance.get_func(&mut store, name).unwrap().call(&mut store, arguments, &mut answers)?;
    Ok(answers)
}

#[test]
fn what_the_sandbox_lacks_is_empty_or_refused_by_name() {
    for empty in ["arguments", "variables", "directories"] {
        assert_eq!(call(empty, &[], 1).unwrap(), [Val::List(vec![])], "{empty}");
    }
    assert_eq!(call("folder", &[], 1).unwrap(), [Val::Option(None)]);
    let denied = Val::Result(Err(Some(Box::new(Val::Enum("access-denied".to_owned())))));
    assert_eq!(call("create", &[Val::Enum("ipv4".to_owned())], 1).unwrap(), [denied]);
    let trap = call("end", &[Val::Result(Err(None))], 0).unwrap_err();
    assert!(format!("{trap:#}").contains("wasi:cli/exit#exit was called, which the sandbox does not have"), "{trap:#}");
}
