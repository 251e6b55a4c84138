package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Offsets in the header of a bzImage (Documentation/arch/x86/boot.rst), little endian.
const (
	setupSects    = 0x1f1 // u8: sectors of 512 bytes before the protected-mode kernel, less the boot sector
	headerMagic   = 0x202 // "HdrS"
	payloadOffset = 0x248 // u32: from the protected-mode kernel to the compressed ELF image
	payloadLength = 0x24c // u32
	headerEnd     = payloadLength + 4
)

// unpackKernel replaces an image that is compressed with xz by the ELF file in it, which QEMU starts directly (PVH):
// an emulated CPU takes 4 s to unpack it at each boot. Other compressions take 1 s and stay.
func unpackKernel(ctx context.Context, path string) error {
	image, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	payload, err := kernelPayload(image)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")) {
		return nil
	}
	cmd := exec.CommandContext(ctx, "xz", "-dc")
	cmd.Stdin = bytes.NewReader(payload)
	elf, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(path), err)
	}
	return os.WriteFile(path, elf, 0o644)
}

// kernelPayload returns the compressed part of a bzImage, without the four bytes of its length that follow the stream.
func kernelPayload(image []byte) ([]byte, error) {
	if len(image) < headerEnd || string(image[headerMagic:headerMagic+4]) != "HdrS" {
		return nil, fmt.Errorf("read kernel image: not a bzImage")
	}
	start := (int(image[setupSects])+1)*512 + int(binary.LittleEndian.Uint32(image[payloadOffset:]))
	end := start + int(binary.LittleEndian.Uint32(image[payloadLength:])) - 4
	if start > end || end > len(image) {
		return nil, fmt.Errorf("read kernel image: payload %d to %d of %d bytes", start, end, len(image))
	}
	return image[start:end], nil
}
