package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/google/uuid"
)

// maxManifest bounds what is read into memory; the OCI specification asks for at least 4 MiB.
const maxManifest = 4 << 20

// Handler speaks the part of the OCI distribution specification that pushing and pulling need:
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md
func Handler(store *Store) http.Handler { return &handler{store} }

type handler struct{ *Store }

// failure is an answer of the specification's error form.
type failure struct {
	status        int
	code, message string
}

func (f failure) Error() string { return f.message }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	err := h.route(w, r)
	if err == nil {
		return
	}
	var answer failure
	switch {
	case errors.As(err, &answer):
	case errors.Is(err, fs.ErrNotExist):
		answer = failure{http.StatusNotFound, "NAME_UNKNOWN", r.URL.Path + " is not here"}
	case errors.Is(err, errDigest):
		answer = failure{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	default:
		answer = failure{http.StatusInternalServerError, "UNKNOWN", err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": answer.code, "message": answer.message}}})
}

// route takes /v2/<name>/<kind>/<reference> apart; a name may hold slashes.
func (h *handler) route(w http.ResponseWriter, r *http.Request) error {
	path := strings.Trim(r.URL.Path, "/")
	if path == "v2" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(path, "v2/"), "/")
	if n := len(parts); n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads" {
		return h.named(parts[:n-2], func(name string) error { return h.start(w, r, name) })
	} else if n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads" {
		return h.named(parts[:n-3], func(name string) error { return h.receive(w, r, name, parts[n-1]) })
	} else if n >= 3 {
		return h.named(parts[:n-2], func(name string) error {
			switch parts[n-2] {
			case "blobs":
				return h.serveBlob(w, r, parts[n-1])
			case "manifests":
				return h.serveManifest(w, r, name, parts[n-1])
			case "tags":
				return h.listTags(w, name)
			}
			return failure{http.StatusNotFound, "UNSUPPORTED", "no such resource: " + parts[n-2]}
		})
	}
	return failure{http.StatusNotFound, "UNSUPPORTED", "no such resource: " + r.URL.Path}
}

func (h *handler) named(parts []string, serve func(name string) error) error {
	name := strings.Join(parts, "/")
	if !namePattern.MatchString(name) {
		return failure{http.StatusBadRequest, "NAME_INVALID", fmt.Sprintf("%q is no repository name", name)}
	}
	return serve(name)
}

func (h *handler) serveBlob(w http.ResponseWriter, r *http.Request, digest string) error {
	if !digestPattern.MatchString(digest) {
		return failure{http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%q is no sha256 digest", digest)}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return failure{http.StatusMethodNotAllowed, "UNSUPPORTED", "blobs can only be read; Sweep removes them"}
	}
	file, err := os.Open(h.blob(digest))
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), file)
	return nil
}

// start begins an upload, or answers at once if the client names a blob that is here already.
func (h *handler) start(w http.ResponseWriter, r *http.Request, name string) error {
	if r.Method != http.MethodPost {
		return failure{http.StatusMethodNotAllowed, "UNSUPPORTED", "uploads start by POST"}
	}
	if digest := r.URL.Query().Get("mount"); digestPattern.MatchString(digest) && h.hasBlob(digest) {
		return created(w, fmt.Sprintf("/v2/%s/blobs/%s", name, digest), digest)
	}
	id := uuid.NewString()
	if err := os.WriteFile(h.upload(id), nil, 0o644); err != nil {
		return err
	}
	if r.URL.Query().Has("digest") {
		r.Method = http.MethodPut
		return h.receive(w, r, name, id)
	}
	return h.accepted(w, name, id)
}

// receive appends to an upload (PATCH), and ends it (PUT).
func (h *handler) receive(w http.ResponseWriter, r *http.Request, name, id string) error {
	switch r.Method {
	case http.MethodGet:
		return h.accepted(w, name, id)
	case http.MethodDelete:
		return os.Remove(h.upload(id))
	case http.MethodPatch, http.MethodPut:
	default:
		return failure{http.StatusMethodNotAllowed, "UNSUPPORTED", "uploads go on by PATCH and end by PUT"}
	}
	file, err := os.OpenFile(h.upload(id), os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r.Body)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if r.Method == http.MethodPatch {
		return h.accepted(w, name, id)
	}
	digest := r.URL.Query().Get("digest")
	if err := h.finish(id, digest); err != nil {
		return err
	}
	return created(w, fmt.Sprintf("/v2/%s/blobs/%s", name, digest), digest)
}

func (h *handler) accepted(w http.ResponseWriter, name, id string) error {
	info, err := os.Stat(h.upload(id))
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/uploads/%s", name, id))
	w.Header().Set("Docker-Upload-UUID", id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(info.Size()-1, 0)))
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func created(w http.ResponseWriter, location, digest string) error {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (h *handler) serveManifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	if !digestPattern.MatchString(reference) && !tagPattern.MatchString(reference) {
		return failure{http.StatusBadRequest, "TAG_INVALID", fmt.Sprintf("%q is neither a tag nor a sha256 digest", reference)}
	}
	switch r.Method {
	case http.MethodPut:
		return h.receiveManifest(w, r, name, reference)
	case http.MethodGet, http.MethodHead:
	default:
		return failure{http.StatusMethodNotAllowed, "UNSUPPORTED", "manifests can be put and read"}
	}
	digest, mediaType, content, err := h.getManifest(name, reference)
	if errors.Is(err, fs.ErrNotExist) {
		return failure{http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("%s has no image %s", name, reference)}
	} else if err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	if r.Method == http.MethodGet {
		_, err = w.Write(content)
	}
	return err
}

func (h *handler) receiveManifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		return failure{http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", err.Error()}
	}
	digests, err := references(content)
	if err != nil {
		return failure{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}
	}
	for _, digest := range digests {
		if !h.hasBlob(digest) {
			return failure{http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Sprintf("push %s first: the manifest names it", digest)}
		}
	}
	digest, err := h.putManifest(name, reference, r.Header.Get("Content-Type"), content)
	if err != nil {
		return err
	}
	return created(w, fmt.Sprintf("/v2/%s/manifests/%s", name, digest), digest)
}

func (h *handler) listTags(w http.ResponseWriter, name string) error {
	entries, err := os.ReadDir(filepath.Dir(h.tag(name, "any")))
	if err != nil {
		return err
	}
	tags := []string{}
	for _, entry := range entries {
		if tagPattern.MatchString(entry.Name()) { // not a tag being written
			tags = append(tags, entry.Name())
		}
	}
	sort.Strings(tags)
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"name": name, "tags": tags})
}
