// A folder that is there as long as this object, for a socket or a file of a store.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>

namespace bench {

class TemporaryFolder {
 public:
    explicit TemporaryFolder(const std::string& parent) : path_(parent + "/tiercache.bench.XXXXXX") {
        if (mkdtemp(path_.data()) == nullptr)
            throw std::runtime_error("could not make a folder in " + parent);
    }
    ~TemporaryFolder() { remove(); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }
    void remove() noexcept {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

 private:
    std::string path_;
};

}  // namespace bench
