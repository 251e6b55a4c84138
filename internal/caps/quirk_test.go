package caps_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
)

func version(t *testing.T, release string) caps.Version {
	t.Helper()
	v, err := caps.ParseVersion(release)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParseVersionKnowsWhatAReleaseTells(t *testing.T) {
	tests := []struct {
		release, number string
		exact           bool
	}{
		{"6.12.103+deb12-amd64", "6.12.103", true},
		{"7.1.5", "7.1.5", true},
		{"6.18.44", "6.18.44", true},
		{"7.2.0", "7.2.0", true},
		{"7.2", "7.2.0", true},
		{"6.17.4-200.fc42.x86_64", "6.17.4", true},
		{"6.1.0-28-amd64", "6.1.0", false},
		{"6.8.0-45-generic", "6.8.0", false},
		{"5.14.0-427.13.1.el9_4.x86_64", "5.14.0", false},
		{"7.2.0-rc3", "7.2.0", false},
		{"7.2-rc3", "7.2.0", false},
	}
	for _, tt := range tests {
		if v := version(t, tt.release); v.Number() != tt.number || v.Exact != tt.exact || v.String() != tt.release {
			t.Errorf("%s: %s, exact %v, %s", tt.release, v.Number(), v.Exact, v)
		}
	}
	for _, bad := range []string{"", "6", "a.b", "6.x", "6.1.2.3", "99999.1", ".", "-1.2"} {
		if v, err := caps.ParseVersion(bad); err == nil {
			t.Errorf("%q parsed as %+v", bad, v)
		}
	}
}

func TestDebiansBuildTellsTheStableVersion(t *testing.T) {
	v := version(t, "6.1.0-28-amd64").WithBuild("#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)")
	if v.Number() != "6.1.119" || !v.Exact || v.String() != "6.1.0-28-amd64" {
		t.Errorf("%+v", v)
	}
	b, err := v.MarshalText()
	if err != nil || string(b) != "6.1.0-28-amd64 (6.1.119)" {
		t.Errorf("%s, %v", b, err)
	}
	var back caps.Version
	if err := back.UnmarshalText(b); err != nil || back != v {
		t.Errorf("%+v, %v", back, err)
	}
	for _, build := range []string{"#1 SMP Thu Jan  1 00:00:00 UTC 2026", "#46-Ubuntu SMP", "Debian x", "Debian 6.12.9-1"} {
		if got := version(t, "6.1.0-28-amd64").WithBuild(build); got.Exact {
			t.Errorf("%q: %+v", build, got)
		}
	}
}

func TestAffectedFollowsTheRecordOfEachLine(t *testing.T) {
	tests := []struct {
		quirk, release string
		want           caps.Answer
	}{
		// Ranges of the OSV record: >=5.10.0 <5.10.265, >=5.11.0 <5.15.216, ... >=6.13.0 <6.18.44, >=6.19.0 <7.1.8.
		{"CVE-2026-74579", "5.4.300", caps.No},
		{"CVE-2026-74579", "5.10.264", caps.Yes},
		{"CVE-2026-74579", "5.10.265", caps.No},
		{"CVE-2026-74579", "5.12.1", caps.Yes},
		{"CVE-2026-74579", "6.12.102+deb12-amd64", caps.Yes},
		{"CVE-2026-74579", "6.12.103+deb12-amd64", caps.No},
		{"CVE-2026-74579", "6.14.9", caps.Yes},
		{"CVE-2026-74579", "6.18.43", caps.Yes},
		{"CVE-2026-74579", "6.18.44", caps.No},
		{"CVE-2026-74579", "7.0.3", caps.Yes},
		{"CVE-2026-74579", "7.1.7", caps.Yes},
		{"CVE-2026-74579", "7.1.8", caps.No},
		{"CVE-2026-74579", "7.2.0", caps.No},
		{"CVE-2026-74579", "6.8.0-45-generic", caps.Unknown},
		{"CVE-2026-74579", "5.4.0-200-generic", caps.No},
		{"CVE-2026-74579", "7.2.0-1-distro", caps.No},
		{"CVE-2026-43329", "6.19.11", caps.Yes},
		{"CVE-2026-43329", "7.0.0", caps.No},
		{"CVE-2026-98625", "6.12.1", caps.Unknown},
		{"ct-timeout-not-extended", "6.12.50", caps.No},
		{"ct-timeout-not-extended", "6.15.2", caps.Unknown},
		{"ct-timeout-not-extended", "6.18.38", caps.Yes},
		{"ct-timeout-not-extended", "6.18.39", caps.No},
		{"ct-timeout-not-extended", "6.19.4", caps.Yes},
		{"ct-timeout-not-extended", "7.0.2", caps.Yes},
		{"ct-timeout-not-extended", "7.1.2", caps.Unknown},
		{"ct-timeout-not-extended", "7.1.5", caps.No},
		{"ct-timeout-not-extended", "7.2.0", caps.No},
		{"flowtable-6.19-lowest-device", "6.18.60", caps.No},
		{"flowtable-6.19-lowest-device", "6.19.0", caps.Yes},
		{"flowtable-6.19-lowest-device", "7.1.5", caps.Yes},
		{"flowtable-6.19-lowest-device", "7.1.9", caps.Unknown},
		{"flowtable-6.19-nat-tcp", "6.19.1", caps.Yes},
		{"flowtable-6.19-nat-tcp", "7.1.5", caps.Unknown},
		{"mtk-l2tp-panic", "6.12.94", caps.No},
		{"mtk-l2tp-panic", "6.12.20", caps.Unknown},
		{"mtk-l2tp-panic", "7.0.0", caps.No},
		{"flowtable-no-path", "5.10.100", caps.Yes},
		{"flowtable-no-path", "5.13.0-30-generic", caps.No},
		{"flowtable-no-path", "5.14.0-427.el9", caps.No},
	}
	all := caps.Quirks()
	for _, tt := range tests {
		i := slices.IndexFunc(all, func(q caps.Quirk) bool { return q.ID == tt.quirk })
		if i < 0 {
			t.Fatalf("no quirk %s", tt.quirk)
		}
		if got := all[i].Affected(version(t, tt.release)); got != tt.want {
			t.Errorf("%s on %s: %s, want %s", tt.quirk, tt.release, got, tt.want)
		}
		if got := all[i].Affected(caps.Version{}); got != caps.Unknown {
			t.Errorf("%s on an unknown kernel: %s", tt.quirk, got)
		}
	}
}

func TestEveryQuirkHasASourceAndOrderedVersions(t *testing.T) {
	var b strings.Builder
	for _, q := range caps.Quirks() {
		if q.ID == "" || q.Title == "" || q.Scope == "" || q.Source == "" {
			t.Errorf("%+v: something is missing", q)
		}
		if !slices.IsSortedFunc(q.Fixed, caps.Version.Compare) {
			t.Errorf("%s: fixed in %s", q.ID, q.FixedIn())
		}
		fmt.Fprintf(&b, "%s (%s)\n  %s\n", q.ID, q.Scope, q.Title)
		since := "not recorded"
		if q.Since.Known() {
			since = q.Since.Number()
		}
		if q.Doubt.Known() {
			since += ", perhaps " + q.Doubt.Number()
		}
		fmt.Fprintf(&b, "  since  %s\n  fixed  %s\n", since, or(q.FixedIn(), "not recorded"))
		fmt.Fprintf(&b, "  remedy %s\n  source %s\n", or(q.Remedy, "another kernel"), q.Source)
	}
	golden(t, "quirks.txt", b.String())
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
