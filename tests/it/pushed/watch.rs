//! `config watch`: a command that follows what is pushed.

use super::Center;
use crate::support::{api::Api, shipway::Shipway};

/// Says with which files it begins and that it was told to end.
pub(crate) const FOLLOWER: &str = "trap 'echo ended with $(cat out/a.yml); exit 3' TERM; trap 'echo told of $(cat out/a.yml)' HUP; \
     echo begun with $(cat out/a.yml); while :; do sleep 0.05; done";

impl Center {
    fn push_number(&self, number: u32) {
        self.write("config/a.yml", format!("{number}\n"));
        self.config(&["push", "config"]).run().expect_code(0);
    }

    fn watch(&self, command: &[&str]) -> Shipway {
        self.config(&[&["watch", "--to", "out", "--"], command].concat()).own_group()
    }
}

#[test]
fn a_push_starts_the_command_anew_and_a_server_that_is_away_does_not_disturb_it() {
    let center = Center::new("config watch");
    center.push_number(1);
    let api = Api::before(&center.namespace.kubeconfig);
    let mut watch = center.watch(&["sh", "-c", FOLLOWER]).env("KUBECONFIG", &api.kubeconfig).spawn();
    watch.wait_for("begun with 1\n");
    center.push_number(2);
    watch.wait_for("begun with 2\n");
    // the folder has the new files before the command is told to end
    assert!(watch.printed().contains("ended with 2\n"), "{}", watch.printed());
    // other versions with the same files are nothing new
    center.config(&["rollback", "--to", "2"]).run().expect_code(0);
    api.down(true);
    watch.wait_for("the command goes on with the files that it has");
    center.push_number(3);
    assert!(!watch.printed().contains("begun with 3"), "{}", watch.printed());
    api.down(false);
    watch.wait_for("begun with 3\n");
    watch.terminate();
    let ended = watch.wait().expect_code(3);
    let count = |words: &str| ended.text().matches(words).count();
    assert_eq!((count("begun with"), count("goes on with the files"), count("the centre is there again")), (3, 1, 1), "{}", ended.text());
}

#[test]
fn the_exit_code_is_the_commands_and_nothing_starts_without_files() {
    let center = Center::new("config watch codes");
    center.watch(&["touch", "never"]).run().expect_code(10).expect_text(&["no configuration of web was pushed"]);
    assert!(!center.path("never").exists());
    center.push_number(1);
    center.watch(&["sh", "-c", "echo mine; exit 7"]).run().expect_code(7).expect_text(&["mine\n"]);
    center.watch(&["no-such-tool"]).run().expect_code(2).expect_text(&["no-such-tool was not found"]);
}
