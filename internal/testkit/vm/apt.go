package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	debianMirror  = "http://deb.debian.org/debian"                   // when apt names no mirror of Debian
	debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg" // in package debian-archive-keyring
)

// archive is apt on lists, caches and sources of its own below a directory, for one suite of Debian; the proxy and other
// settings of the machine's apt stay in force.
type archive struct {
	suite string
	dir   string
	opts  []string
}

// openArchive reads the lists of the suite's packages.
func openArchive(ctx context.Context, suite, dir string) (*archive, error) {
	if _, err := os.Stat(debianKeyring); err != nil {
		return nil, fmt.Errorf("trust Debian's archive: %w", err)
	}
	source := fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", debianKeyring, mirror(ctx), suite)
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644); err != nil {
		return nil, err
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	a := &archive{suite: suite, dir: dir, opts: []string{
		"-q",
		"-o", "Dir::State=" + filepath.Join(dir, "state"),
		"-o", "Dir::State::lists=" + filepath.Join(dir, "state/lists"),
		"-o", "Dir::State::status=/dev/null", // what the machine has installed must not matter
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"-o", "Dir::Etc::sourcelist=" + filepath.Join(dir, "sources.list"),
		"-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "APT::Architecture=amd64",
		"-o", "APT::Sandbox::User=root", // user _apt cannot write below the cache directory
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
	}}
	_, err := a.apt(ctx, "apt-get", "update")
	return a, err
}

func (a *archive) apt(ctx context.Context, tool string, args ...string) (string, error) {
	return output(ctx, a.dir, tool, append(slices.Clip(a.opts), args...)...)
}

// unpack downloads the packages and unpacks them all into the directory, without running anything of theirs.
func (a *archive) unpack(ctx context.Context, to string, packages ...string) error {
	if _, err := a.apt(ctx, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if err != nil || len(debs) != len(packages) {
		return fmt.Errorf("download %s: want %d files, have %d", strings.Join(packages, " "), len(packages), len(debs))
	}
	for _, deb := range debs {
		if _, err := output(ctx, a.dir, "dpkg", "-x", deb, to); err != nil {
			return err
		}
	}
	return nil
}

// image returns the name of the package that holds the suite's kernel.
func (a *archive) image(ctx context.Context, k Kernel) (string, error) {
	deps, err := a.apt(ctx, "apt-cache", "depends", "linux-image-amd64")
	if err != nil {
		return "", err
	}
	return imagePackage(deps, k)
}

// imagePackage finds the versioned package in what `apt-cache depends linux-image-amd64` prints.
func imagePackage(depends string, k Kernel) (string, error) {
	for line := range strings.Lines(depends) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if ok && strings.HasPrefix(name, "linux-image-"+k.Name+".") {
			return name, nil
		}
	}
	return "", fmt.Errorf("find kernel %s in suite %s: linux-image-amd64 depends on another version: %s",
		k, k.Suite, strings.Join(strings.Fields(depends), " "))
}

// mirror returns the archive the machine's own Debian packages come from; it serves every suite of Debian.
func mirror(ctx context.Context) string {
	out, err := output(ctx, "", "apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages")
	if err != nil {
		return debianMirror // a machine whose apt has no such answer may still reach the archive
	}
	return pickMirror(out)
}

// pickMirror takes lines of "ORIGIN LABEL URI"; security updates come from Debian too, under a label of their own.
// Before the first `apt-get update` of a machine only the URI is known.
func pickMirror(targets string) string {
	fallback := debianMirror
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		uri := strings.TrimSuffix(f[len(f)-1], "/")
		switch {
		case len(f) == 3 && f[0] == "Debian" && f[1] == "Debian":
			return uri
		case fallback == debianMirror && strings.HasSuffix(uri, "/debian"):
			fallback = uri
		}
	}
	return fallback
}
