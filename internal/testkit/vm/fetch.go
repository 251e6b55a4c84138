package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Image is a kernel ready to boot. Its files stay in the cache.
type Image struct {
	Kernel  Kernel
	Release string // as `uname -r` prints it
	dir     string // holds vmlinuz and lib/modules/RELEASE
}

func (i *Image) vmlinuz() string { return filepath.Join(i.dir, "vmlinuz") }
func (i *Image) modules() string { return filepath.Join(i.dir, "lib", "modules") }

// releaseFile holds an image's release and is written last: with it, the directory is complete.
const releaseFile = "release"

// Fetch returns the kernel from the cache, or downloads it first (70 to 110 MB) with a private apt configuration that
// leaves the machine's own as it is. A kernel that is in the cache stays there: remove the directory to get a newer one.
func Fetch(ctx context.Context, k Kernel) (*Image, error) {
	dir, err := cacheDir("kernels")
	if err != nil {
		return nil, fmt.Errorf("fetch kernel %s: %w", k, err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, k.Name+".lock"))
	if err != nil {
		return nil, fmt.Errorf("fetch kernel %s: %w", k, err)
	}
	defer unlock()
	img := &Image{Kernel: k, dir: filepath.Join(dir, k.Name)}
	release, err := os.ReadFile(filepath.Join(img.dir, releaseFile))
	if errors.Is(err, fs.ErrNotExist) {
		release, err = download(ctx, k, img.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch kernel %s: %w", k, err)
	}
	img.Release = strings.TrimSpace(string(release))
	return img, nil
}

// download fills dir through a temporary directory beside it, so that dir is there completely or not at all.
func download(ctx context.Context, k Kernel, dir string) (release []byte, err error) {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), k.Name+".tmp-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	a, err := openArchive(ctx, k.Suite, tmp)
	if err != nil {
		return nil, err
	}
	pkg, err := a.image(ctx, k)
	if err != nil {
		return nil, err
	}
	tree, img := filepath.Join(tmp, "tree"), filepath.Join(tmp, "image")
	if err := a.unpack(ctx, tree, pkg); err != nil {
		return nil, err
	}
	release, err = arrange(tree, img)
	if err != nil {
		return nil, err
	}
	if err := unpackKernel(ctx, filepath.Join(img, "vmlinuz")); err != nil {
		return nil, err
	}
	if _, err := output(ctx, tmp, "depmod", "-b", img, string(release)); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(img, releaseFile), release, 0o644); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	return release, os.Rename(img, dir)
}

// kept names the parts of a module tree that a network test can need; the rest is nine tenths of it.
func kept() []string {
	return []string{
		"arch", "crypto", "lib", "net",
		"drivers/net", "drivers/pps", "drivers/ptp", "drivers/vhost", "drivers/virtio",
		"fs/9p", "fs/fscache", "fs/netfs", "fs/overlayfs",
	}
}

// arrange moves what boots out of an unpacked kernel package: boot/vmlinuz-RELEASE and the modules we keep.
func arrange(tree, img string) (release []byte, err error) {
	kernels, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("unpack kernel package: want one boot/vmlinuz-*, have %d", len(kernels))
	}
	name := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	// Debian 12 has lib/modules, packages made for a merged /usr have usr/lib/modules.
	from := filepath.Join(tree, "lib", "modules", name)
	if _, err := os.Stat(from); err != nil {
		from = filepath.Join(tree, "usr", "lib", "modules", name)
	}
	to := filepath.Join(img, "lib", "modules", name)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(kernels[0], filepath.Join(img, "vmlinuz")); err != nil {
		return nil, err
	}
	lists, err := filepath.Glob(filepath.Join(from, "modules.*"))
	if err != nil {
		return nil, err
	}
	for _, f := range lists {
		if err := os.Rename(f, filepath.Join(to, filepath.Base(f))); err != nil {
			return nil, err
		}
	}
	for _, part := range kept() {
		if err := moveDir(filepath.Join(from, "kernel", part), filepath.Join(to, "kernel", part)); err != nil {
			return nil, err
		}
	}
	return []byte(name), nil
}

// moveDir renames a directory; one that this kernel does not have is left out.
func moveDir(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// output runs a command in dir and returns what it printed; an error carries its standard error.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var errb strings.Builder
	cmd.Stderr = &errb
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errb.String()))
	}
	return string(out), nil
}
