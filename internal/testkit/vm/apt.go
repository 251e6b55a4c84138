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

// downloadPackage downloads the kernel package of the suite into dir and returns its path. apt works on lists, caches and
// sources of its own below dir; the proxy and other settings of the machine's apt stay in force.
func downloadPackage(ctx context.Context, k Kernel, dir string) (string, error) {
	if _, err := os.Stat(debianKeyring); err != nil {
		return "", fmt.Errorf("trust Debian's archive: %w", err)
	}
	source := fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", debianKeyring, mirror(ctx), k.Suite)
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644); err != nil {
		return "", err
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	opts := []string{
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
	}
	apt := func(tool string, args ...string) (string, error) {
		return output(ctx, dir, tool, append(slices.Clip(opts), args...)...)
	}
	if _, err := apt("apt-get", "update"); err != nil {
		return "", err
	}
	deps, err := apt("apt-cache", "depends", "linux-image-amd64")
	if err != nil {
		return "", err
	}
	pkg, err := imagePackage(deps, k)
	if err != nil {
		return "", err
	}
	if _, err := apt("apt-get", "download", pkg); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("download %s: want one package, have %d", pkg, len(debs))
	}
	return debs[0], nil
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
