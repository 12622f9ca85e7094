// Folders of SQL files: the dashboard's queries, and the writes that change their answers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tiercache::demo {

struct SqlFile {
    std::string name;   // of the file, without ".sql"
    std::string title;  // the comment on its first line
    std::string sql;    // what follows, without the semicolon at the end
};

// All *.sql of the folder, by name. Throws std::runtime_error, also when there are none.
[[nodiscard]] std::vector<SqlFile> read_sql_folder(const std::filesystem::path& folder);

}  // namespace tiercache::demo
