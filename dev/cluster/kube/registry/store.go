// Package registry is an OCI image registry in a directory: everything pushed survives a restart, and
// equal blobs are stored once whichever repository they belong to.
//
//	blobs/<sha256>                          layers, configs and manifests by digest
//	uploads/<id>                            pushes under way
//	repositories/<name>/_manifests/<sha256> media type of a manifest of the repository
//	repositories/<name>/_tags/<tag>         digest that a tag points at
package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	tagPattern    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	// A component never starts with an underscore, so `_tags` and `_manifests` cannot be part of a name.
	namePattern = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)

	errDigest = errors.New("content does not have the digest it was pushed by")
)

// Store is a registry's directory.
type Store struct{ root string }

// Open makes the directory's layout where it is missing, and forgets unfinished uploads.
func Open(root string) (*Store, error) {
	if err := os.RemoveAll(filepath.Join(root, "uploads")); err != nil {
		return nil, err
	}
	for _, name := range []string{"blobs", "uploads", "repositories"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return nil, err
		}
	}
	return &Store{root: root}, nil
}

func (s *Store) blob(digest string) string {
	return filepath.Join(s.root, "blobs", strings.TrimPrefix(digest, "sha256:"))
}

func (s *Store) upload(id string) string { return filepath.Join(s.root, "uploads", filepath.Base(id)) }

func (s *Store) tag(name, tag string) string {
	return filepath.Join(s.root, "repositories", name, "_tags", tag)
}

func (s *Store) manifest(name, digest string) string {
	return filepath.Join(s.root, "repositories", name, "_manifests", strings.TrimPrefix(digest, "sha256:"))
}

func (s *Store) hasBlob(digest string) bool {
	_, err := os.Stat(s.blob(digest))
	return err == nil
}

// finish turns an upload into a blob, if its content has the digest; the upload is gone either way.
func (s *Store) finish(id, digest string) error {
	file, err := os.Open(s.upload(id))
	if err != nil {
		return err
	}
	defer file.Close()
	defer os.Remove(s.upload(id))
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return err
	}
	if "sha256:"+hex.EncodeToString(hash.Sum(nil)) != digest {
		return errDigest
	}
	return os.Rename(s.upload(id), s.blob(digest))
}

// putManifest stores a manifest and points the reference at it; a reference is a tag or the digest itself.
func (s *Store) putManifest(name, reference, mediaType string, content []byte) (digest string, err error) {
	sum := sha256.Sum256(content)
	digest = "sha256:" + hex.EncodeToString(sum[:])
	if digestPattern.MatchString(reference) && reference != digest {
		return "", errDigest
	}
	if err := writeFile(s.blob(digest), content); err != nil {
		return "", err
	}
	if err := writeFile(s.manifest(name, digest), []byte(mediaType)); err != nil {
		return "", err
	}
	if reference == digest {
		return digest, nil
	}
	return digest, writeFile(s.tag(name, reference), []byte(digest))
}

// getManifest finds a manifest by tag or digest; fs.ErrNotExist if the repository has none such.
func (s *Store) getManifest(name, reference string) (digest, mediaType string, content []byte, err error) {
	digest = reference
	if !digestPattern.MatchString(reference) {
		pointer, err := os.ReadFile(s.tag(name, reference))
		if err != nil {
			return "", "", nil, err
		}
		digest = string(pointer)
	}
	kind, err := os.ReadFile(s.manifest(name, digest))
	if err != nil {
		return "", "", nil, err
	}
	content, err = os.ReadFile(s.blob(digest))
	return digest, string(kind), content, err
}

// references lists the digests that a manifest or an index names.
func references(content []byte) ([]string, error) {
	type descriptor struct{ Digest string }
	var manifest struct {
		Config    *descriptor
		Layers    []descriptor
		Manifests []descriptor
	}
	if err := json.Unmarshal(content, &manifest); err != nil {
		return nil, fmt.Errorf("manifest is no JSON object: %w", err)
	}
	var digests []string
	if manifest.Config != nil {
		digests = append(digests, manifest.Config.Digest)
	}
	for _, each := range append(manifest.Layers, manifest.Manifests...) {
		digests = append(digests, each.Digest)
	}
	for _, digest := range digests {
		if !digestPattern.MatchString(digest) {
			return nil, fmt.Errorf("manifest names %q, which is no sha256 digest", digest)
		}
	}
	return digests, nil
}

// Sweep removes every blob that no tag leads to. Only for a store that nobody pushes to.
func (s *Store) Sweep() (removed int, err error) {
	keep := map[string]bool{}
	var mark func(digest string)
	mark = func(digest string) {
		if keep[digest] {
			return
		}
		keep[digest] = true
		content, err := os.ReadFile(s.blob(digest))
		if err != nil || len(content) == 0 || content[0] != '{' {
			return
		}
		children, _ := references(content) // a config is JSON too, and names nothing
		for _, child := range children {
			if info, err := os.Stat(s.blob(child)); err == nil && info.Size() > maxManifest {
				keep[child] = true // a layer: not worth reading
			} else {
				mark(child)
			}
		}
	}
	err = filepath.WalkDir(filepath.Join(s.root, "repositories"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Base(filepath.Dir(path)) != "_tags" {
			return err
		}
		digest, err := os.ReadFile(path)
		mark(string(digest))
		return err
	})
	if err != nil {
		return 0, err
	}
	blobs, err := os.ReadDir(filepath.Join(s.root, "blobs"))
	for _, blob := range blobs {
		if !keep["sha256:"+blob.Name()] {
			removed++
			err = errors.Join(err, os.Remove(filepath.Join(s.root, "blobs", blob.Name())))
		}
	}
	return removed, err
}

// writeFile replaces a file whole or not at all.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
