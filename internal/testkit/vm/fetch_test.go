package vm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestImagePackageMustBeOfTheKernelsVersion(t *testing.T) {
	k := Kernel{Name: "6.1", Suite: "bookworm"}
	got, err := imagePackage("linux-image-amd64\n  Depends: linux-image-6.1.0-50-amd64\n", k)
	if err != nil || got != "linux-image-6.1.0-50-amd64" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := imagePackage("linux-image-amd64\n  Depends: linux-image-6.12.9-amd64\n", k); err == nil {
		t.Errorf("a kernel 6.12 passes for a 6.1: %q", got)
	}
}

func TestPickMirror(t *testing.T) {
	tests := []struct{ name, targets, want string }{
		{"after apt-get update", "Debian Debian-Security http://a/debian-security/\nDebian Debian http://a/debian/\n", "http://a/debian"},
		{"another vendor first", "Google cloud http://b/apt/\nDebian Debian http://a/mirror/\n", "http://a/mirror"},
		{"before apt-get update", "  http://a/debian-security/\n  http://a/debian/\n", "http://a/debian"},
		{"no Debian at all", "Ubuntu Ubuntu http://c/ubuntu/\n", debianMirror},
		{"nothing", "", debianMirror},
	}
	for _, tt := range tests {
		if got := pickMirror(tt.targets); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestArrangeKeepsImageAndNetworkModules(t *testing.T) {
	tests := []struct{ name, modules string }{
		{"lib", "lib/modules/6.9-x"},
		{"merged usr", "usr/lib/modules/6.9-x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, img := t.TempDir(), t.TempDir()
			for _, f := range []string{
				"boot/vmlinuz-6.9-x",
				tt.modules + "/modules.builtin",
				tt.modules + "/kernel/net/netfilter/nf_tables.ko",
				tt.modules + "/kernel/drivers/net/veth.ko",
				tt.modules + "/kernel/drivers/gpu/big.ko",
			} {
				write(t, filepath.Join(tree, f))
			}
			release, err := arrange(tree, img)
			if err != nil || string(release) != "6.9-x" {
				t.Fatalf("release %q, error %v", release, err)
			}
			want := []string{
				"lib/modules/6.9-x/kernel/drivers/net/veth.ko",
				"lib/modules/6.9-x/kernel/net/netfilter/nf_tables.ko",
				"lib/modules/6.9-x/modules.builtin",
				"vmlinuz",
			}
			if diff := cmp.Diff(want, files(t, img)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInsmodFilesOnceAndInOrder(t *testing.T) {
	deps := "insmod /m/virtio.ko \nbuiltin pci\ninsmod /m/9pnet.ko \ninsmod /m/virtio.ko \ninsmod /m/9p.ko.xz \n"
	want := []string{"/m/virtio.ko", "/m/9pnet.ko", "/m/9p.ko.xz"}
	if diff := cmp.Diff(want, insmodFiles(deps)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		names = append(names, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestKernelPayloadOfBrokenImages(t *testing.T) {
	image := make([]byte, 2048)
	copy(image[headerMagic:], "HdrS")
	image[setupSects] = 1      // payload counts from byte 1024
	image[payloadOffset] = 16  // and begins at 1040
	image[payloadLength] = 100 // its own length included
	got, err := kernelPayload(image)
	if err != nil || len(got) != 96 || &got[0] != &image[1040] {
		t.Errorf("payload of %d bytes, error %v; want 96 bytes", len(got), err)
	}
	for _, broken := range [][]byte{nil, image[:headerEnd-1], image[:1100], make([]byte, 4096)} {
		if _, err := kernelPayload(broken); err == nil {
			t.Errorf("a broken image of %d bytes has a payload", len(broken))
		}
	}
}
