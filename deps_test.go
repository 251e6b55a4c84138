// Package nftoffload_test checks laws of the whole repository.
package nftoffload_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module   = "github.com/nft-offload/nft-offload"
	internal = module + "/internal/"
)

// layer is what a package is to the import law.
type layer int

const (
	pure   layer = iota // values in, values out: no machine, no clock
	kernel              // speaks one kernel ABI
	upper               // everything above
)

// rule is a package's place: what it is and which packages of ours it may import. Packages below it in the directory
// tree share its place.
type rule struct {
	layer   layer
	imports []string
}

// law is the direction of imports: cmd, then tui, api, engine, plan, then ruleset, caps and packet.
// A package that is not in it has no place yet: give it one.
func law() map[string]rule {
	pures := []string{"ruleset", "handover", "reason", "packet", "caps", "plan", "eval", "bpfgen"}
	kernels := []string{"nft", "conntrack", "link", "tc", "datapath"}
	values := []string{"ruleset", "reason", "packet", "caps"}
	l := map[string]rule{
		"ruleset":  {pure, nil},
		"handover": {pure, nil},
		"reason":   {pure, nil},
		"packet":   {pure, nil},
		"caps":     {pure, []string{"reason"}},
		"plan":     {pure, values},
		// The oracle shares no matching code with what it judges.
		"eval":   {pure, values},
		"bpfgen": {pure, append(slices.Clip(values), "plan")},
		// Interfaces live with engine, their consumer; cmd puts the kernel packages behind them.
		"engine": {upper, pures},
		// Of engine it takes the values: decisions and flows.
		"why":    {pure, append(slices.Clip(pures), "engine")},
		"api":    {upper, append(slices.Clip(pures), "engine")},
		"tui":    {upper, append(slices.Clip(pures), "engine", "api")},
		"bench":  {upper, slices.Concat(pures, kernels, []string{"engine", "api"})},
		// Only tests import testkit; what it may use is as wide as what it tests.
		"testkit": {upper, slices.Concat(pures, kernels, []string{"engine", "api"})},
	}
	for _, k := range kernels {
		l[k] = rule{kernel, pures} // never each other: engine joins them
	}
	return l
}

// banned names what the product must not import, and why. A path stands for the packages below it too.
func banned() map[string]string {
	return map[string]string{
		"github.com/google/nftables": "it drops rule expressions it does not know: nft(8) reads and writes rules",
		"testing":                    "for tests only",
		internal + "testkit":         "for tests only: the topology of demo and bench lives in bench",
	}
}

// bannedPure names what a pure package must not import besides, and why.
func bannedPure() map[string]string {
	return map[string]string{
		"os":                     "the caller passes bytes and values in",
		"syscall":                "it builds everywhere and asks no kernel",
		"unsafe":                 "it depends on no machine's memory layout",
		"math/rand":              "same input, same bytes out",
		"golang.org/x/sys":       "it builds everywhere and asks no kernel",
		"github.com/mdlayher":    "netlink belongs to the kernel packages",
		"github.com/vishvananda": "netlink belongs to the kernel packages",
		"github.com/ti-mo":       "ctnetlink belongs to package conntrack",
		"github.com/cilium/ebpf": "bpf(2) belongs to package datapath",
	}
}

type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func TestImportsPointDown(t *testing.T) {
	l := law()
	for _, p := range packages(t, "./...") {
		place, isInternal := placeOf(p.ImportPath)
		r, known := l[place]
		if isInternal && !known {
			t.Errorf("%s: package %q has no place in the import law of this test", p.ImportPath, place)
			continue
		}
		for _, imp := range p.Imports {
			if why := refuse(r, place, isInternal, imp); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, why)
			}
		}
	}
}

// refuse returns why a package must not have an import, or "". Packages outside internal/ (cmd, scripts) may import all
// that is not banned.
func refuse(r rule, place string, isInternal bool, imp string) string {
	if place != "testkit" {
		if why, ok := match(banned(), imp); ok {
			return why
		}
	}
	if !isInternal {
		return ""
	}
	if to, ours := placeOf(imp); ours {
		if to != place && !slices.Contains(r.imports, to) {
			return "imports point down and kernel packages do not know each other (see law in deps_test.go)"
		}
		return ""
	}
	if r.layer != pure || place == "bpfgen" && imp == "github.com/cilium/ebpf/asm" {
		return "" // instructions are values; loading them is not
	}
	why, ok := match(bannedPure(), imp)
	if !ok {
		return ""
	}
	return "a pure package does not: " + why
}

// clocks are the functions of package time that read or wait for the clock; its types and constants are values.
func clocks() []string {
	return []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
}

func TestPurePackagesReadNoClock(t *testing.T) {
	for _, p := range purePackages(t) {
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clocks(), sel.Sel.Name) {
					t.Errorf("%s: time.%s: a pure package is told what time it is", fset.Position(n.Pos()), sel.Sel.Name)
				}
				return true
			})
		}
	}
}

func TestPurePackagesBuildForDarwin(t *testing.T) {
	args := []string{"build"}
	for _, p := range purePackages(t) {
		args = append(args, p.ImportPath)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go build for darwin: %v\n%s", err, out)
	}
}

// purePackages fails the test when there are none: a test of nothing proves nothing.
func purePackages(t *testing.T) []goPackage {
	t.Helper()
	l := law()
	var pures []goPackage
	for _, p := range packages(t, "./internal/...") {
		if place, _ := placeOf(p.ImportPath); l[place].layer == pure {
			pures = append(pures, p)
		}
	}
	if len(pures) == 0 {
		t.Fatal("no pure package found")
	}
	return pures
}

// placeOf returns the first element below internal/ of an import path of ours.
func placeOf(importPath string) (place string, isInternal bool) {
	rest, ok := strings.CutPrefix(importPath, internal)
	place, _, _ = strings.Cut(rest, "/")
	return place, ok
}

// match finds the ban an import falls under: the path itself or one above it.
func match(bans map[string]string, imp string) (why string, ok bool) {
	for path := imp; path != ""; path = path[:max(0, strings.LastIndexByte(path, '/'))] {
		if why, ok := bans[path]; ok {
			return why, true
		}
	}
	return "", false
}

func packages(t *testing.T, pattern string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", pattern)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ps []goPackage
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return ps
		}
		if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		ps = append(ps, p)
	}
}

func TestRefuseKnowsTheLaw(t *testing.T) {
	tests := []struct {
		from, imp string
		refused   bool
	}{
		{"internal/packet", "net/netip", false},
		{"internal/packet", "os/exec", true},
		{"internal/packet", "golang.org/x/sys/unix", true},
		{"internal/plan", module + "/internal/ruleset", false},
		{"internal/plan", module + "/internal/eval", true},
		{"internal/eval", module + "/internal/plan", true},
		{"internal/bpfgen", "github.com/cilium/ebpf/asm", false},
		{"internal/bpfgen", "github.com/cilium/ebpf", true},
		{"internal/nft", "os/exec", false},
		{"internal/nft", "github.com/google/nftables/expr", true},
		{"internal/nft", module + "/internal/conntrack", true},
		{"internal/nft", module + "/internal/engine", true},
		{"internal/nft/lower", module + "/internal/nft", false},
		{"internal/engine", module + "/internal/datapath", true},
		{"internal/api", module + "/internal/engine", false},
		{"internal/testkit", "testing", false},
		{"internal/bench", module + "/internal/testkit", true},
		{"cmd/nft-offload", module + "/internal/datapath", false},
		{"cmd/nft-offload", module + "/internal/testkit/vm", true},
	}
	l := law()
	for _, tt := range tests {
		place, isInternal := placeOf(module + "/" + tt.from)
		if why := refuse(l[place], place, isInternal, tt.imp); (why != "") != tt.refused {
			t.Errorf("%s imports %s: refused with %q, want refused %v", tt.from, tt.imp, why, tt.refused)
		}
	}
}
