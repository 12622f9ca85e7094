// The clock table that this host's answers are judged by: found by its name, mapped, and found again when
// the server made it anew. Safe from any thread; table() is one load.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

#include "client/published.hpp"
#include "shm_cache/clock_file.hpp"

namespace tiercache {

class ClockSource {
 public:
    // `name` as in Options::clock_name.
    explicit ClockSource(const std::string& name);

    // Maps the table that the options name; does nothing when the server is to tell it. Errors: those of
    // ClockFile::open.
    Status open_named();

    // PostgreSQL told the name of its clock table, or none (empty).
    void server_told(std::string_view name) noexcept;

    // Looks whether the name still leads to the mapped table, and maps it again if not.
    void refresh() noexcept;

    // An invalid view when there is none. Lives as long as this object.
    [[nodiscard]] ClockTable table() const noexcept {
        const ClockFile* file = current_.get();
        return file == nullptr ? ClockTable() : file->table();
    }

    // ok, or why there is no table.
    [[nodiscard]] Status status() const;

 private:
    Status map_current_name();  // with the mutex held

    const bool ask_server_;
    mutable std::mutex mutex_;
    std::string name_;  // empty: none
    Status status_;
    Published<ClockFile> current_;
};

}  // namespace tiercache
