//! Every free text of a report, so that secrets and whatever could act are taken out of all of them at one place.

use super::{
    foreign,
    model::{Commit, ProblemRecord, Report},
};
use crate::domain::redact::Redactor;

impl Report {
    /// Takes secrets, and whatever could act on a screen, out of every text; runs once, when the report is made.
    pub(super) fn make_safe(&mut self, redactor: &Redactor) {
        self.each_text(&mut |text| *text = foreign::safe(text, redactor));
    }

    /// Visits every free text of the report. A field that is added has to be visited, too: the canary test finds those that are not.
    fn each_text(&mut self, visit: &mut dyn FnMut(&mut String)) {
        let mut maybe = |text: &mut Option<String>| text.iter_mut().for_each(&mut *visit);
        maybe(&mut self.app);
        maybe(&mut self.line);
        maybe(&mut self.environment);
        maybe(&mut self.url);
        maybe(&mut self.report_url);
        if let Some(ci) = &mut self.ci {
            maybe(&mut ci.job_url);
        }
        if let Some(image) = &mut self.image {
            maybe(&mut image.base);
            maybe(&mut image.layout);
        }
        if let Some(before) = &mut self.before {
            maybe(&mut before.image);
        }
        self.not_done.iter_mut().for_each(|n| maybe(&mut n.instead));
        self.each_required_text(visit);
    }

    fn each_required_text(&mut self, visit: &mut dyn FnMut(&mut String)) {
        visit(&mut self.version);
        visit(&mut self.command);
        self.commit.iter_mut().for_each(|commit| commit.each_text(visit));
        self.ci.iter_mut().for_each(|ci| visit(&mut ci.kind));
        self.image.iter_mut().for_each(|image| visit(&mut image.reference));
        self.steps.iter_mut().for_each(|step| visit(&mut step.summary));
        self.changes.iter_mut().for_each(|change| visit(&mut change.object));
        self.differences.iter_mut().flat_map(|d| [&mut d.object, &mut d.text]).for_each(&mut *visit);
        if let Some(release) = &mut self.release {
            visit(&mut release.namespace);
            visit(&mut release.name);
        }
        if let Some(problem) = &mut self.problem {
            problem.each_text(visit);
        }
        self.warnings.iter_mut().flat_map(|w| [&mut w.text, &mut w.hint]).for_each(&mut *visit);
        self.not_done.iter_mut().flat_map(|n| [&mut n.what, &mut n.setting]).for_each(&mut *visit);
        self.pods.iter_mut().flat_map(|p| [&mut p.name, &mut p.state]).for_each(&mut *visit);
        self.settings.iter_mut().flat_map(|s| [&mut s.key, &mut s.value, &mut s.source]).for_each(&mut *visit);
    }
}

impl Commit {
    pub(super) fn each_text(&mut self, visit: &mut dyn FnMut(&mut String)) {
        visit(&mut self.sha);
        let maybe = [&mut self.reference, &mut self.author, &mut self.title];
        maybe.into_iter().flatten().for_each(visit);
    }
}

impl ProblemRecord {
    pub(super) fn each_text(&mut self, visit: &mut dyn FnMut(&mut String)) {
        visit(&mut self.message);
        visit(&mut self.hint);
        self.page.iter_mut().for_each(&mut *visit);
        self.evidence.iter_mut().flat_map(|e| [&mut e.source, &mut e.text]).for_each(visit);
    }
}
