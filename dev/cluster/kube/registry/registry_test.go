package registry

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func digestOf(content string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content))) }

func serve(t *testing.T, directory string) (*Store, string) {
	t.Helper()
	store, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Handler(store))
	t.Cleanup(server.Close)
	return store, server.URL + "/v2/"
}

func send(t *testing.T, method, url, body string) (status int, answer string, header http.Header) {
	t.Helper()
	request, err := http.NewRequest(method, url, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content), response.Header
}

func want(t *testing.T, what string, got, wanted any) {
	t.Helper()
	if got != wanted {
		t.Errorf("%s: got %v, want %v", what, got, wanted)
	}
}

func pushImage(t *testing.T, base, name, tag, layer string) (manifest string) {
	t.Helper()
	for _, blob := range []string{layer, "{}"} {
		status, _, header := send(t, "POST", base+name+"/blobs/uploads/", "")
		want(t, "start of an upload", status, 202)
		location := base + header.Get("Location")[len("/v2/"):]
		status, _, _ = send(t, "PATCH", location, blob[:1])
		want(t, "first part", status, 202)
		status, _, _ = send(t, "PUT", location+"?digest="+digestOf(blob), blob[1:])
		want(t, "end of an upload", status, 201)
	}
	manifest = fmt.Sprintf(`{"config":{"digest":%q},"layers":[{"digest":%q}]}`, digestOf("{}"), digestOf(layer))
	status, answer, _ := send(t, "PUT", base+name+"/manifests/"+tag, manifest)
	want(t, "manifest "+answer, status, 201)
	return manifest
}

func TestImagesSurviveARestart(t *testing.T) {
	directory := t.TempDir()
	_, base := serve(t, directory)
	manifest := pushImage(t, base, "team/app", "1", "layer")

	_, base = serve(t, directory)
	for _, reference := range []string{"1", digestOf(manifest)} {
		status, answer, header := send(t, "GET", base+"team/app/manifests/"+reference, "")
		want(t, "status", status, 200)
		want(t, "manifest", answer, manifest)
		want(t, "type", header.Get("Content-Type"), "application/vnd.oci.image.manifest.v1+json")
	}
	_, answer, _ := send(t, "GET", base+"team/app/blobs/"+digestOf("layer"), "")
	want(t, "layer", answer, "layer")
	_, answer, _ = send(t, "GET", base+"team/app/tags/list", "")
	want(t, "tags", answer, "{\"name\":\"team/app\",\"tags\":[\"1\"]}\n")
}

func TestBadPushesAreRefused(t *testing.T) {
	_, base := serve(t, t.TempDir())
	missing := fmt.Sprintf(`{"config":{"digest":%q}}`, digestOf("nothing"))
	for _, refused := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "a/blobs/uploads/?digest=" + digestOf("other"), "content", 400},
		{"PATCH", "a/blobs/uploads/unknown", "content", 404},
		{"PUT", "a/manifests/1", "no JSON", 400},
		{"PUT", "a/manifests/1", `{"layers":[{"digest":"../../etc/passwd"}]}`, 400},
		{"PUT", "a/manifests/1", missing, 404},
		{"PUT", "a/manifests/..", "{}", 400},
		{"PUT", "_tags/manifests/1", "{}", 400},
		{"GET", "a/manifests/1", "", 404},
		{"GET", "a/blobs/" + digestOf("nothing"), "", 404},
		{"DELETE", "a/blobs/" + digestOf("nothing"), "", 405},
	} {
		status, answer, _ := send(t, refused.method, base+refused.path, refused.body)
		want(t, refused.method+" "+refused.path+" "+answer, status, refused.status)
	}
}

func TestSweepKeepsWhatATagLeadsTo(t *testing.T) {
	store, base := serve(t, t.TempDir())
	pushImage(t, base, "app", "dev", "old layer")
	pushImage(t, base, "app", "dev", "new layer")
	removed, err := store.Sweep()
	want(t, "error", err, error(nil))
	want(t, "removed: the old layer and its manifest", removed, 2)
	want(t, "new layer", store.hasBlob(digestOf("new layer")), true)
	status, _, _ := send(t, "GET", base+"app/manifests/dev", "")
	want(t, "the tagged image", status, 200)
}
